"""Describe routing.yaml to pydantic: its keys, where each may stand, and the help an editor shows.

The models settle the shape and every single value; what depends on several values at once is decided
in :mod:`gateway.table.row_specs` and :mod:`gateway.table.sections`. They also are the JSON Schema
(:mod:`gateway.table.schema`), so every key has a description.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from gateway.table.values import (
    RULES,
    SHORTHAND_PATTERN,
    Alpha,
    Argv,
    Budget,
    Callers,
    ComparePlace,
    Day,
    Distance,
    Duration,
    EnvText,
    ErrorShapeValue,
    Flag,
    ImportString,
    Networks,
    NewPath,
    PathOrOff,
    Percent,
    PinTexts,
    PublicPath,
    Rates,
    Regex,
    RootPath,
    Secret,
    Size,
    SizeOrNone,
    StageWord,
    Steps,
    Text,
    UpstreamUrl,
    defaults_keys,
    manual,
    row_keys,
    section,
    whole_type,
    words_type,
)

EQUIVALENCES = {
    "key_order": True,
    "json_escapes": True,
    "trailing_newline": True,
    "header_case": True,
    "date_format": False,
    "number_form": False,
    "null_is_missing": False,
    "redirect_307_308": False,
}
"""The known equivalences, and whether each is on by default: those that no JSON client can tell."""


class Strict(BaseModel):
    """Refuse unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class RuleModel(Strict):
    """One rule for differences between the two answers."""

    at: ComparePlace = Field(
        description="Where: a JSONPath (RFC 9535), header:NAME, cookie:NAME, status, body, or of the rows "
        "that were written rows:TABLE or rows:TABLE.COLUMN.",
        examples=["$.generated_at", "header:etag"],
    )
    rule: Annotated[str, *words_type(*RULES)] = Field(
        description="What is accepted there: ignore (any value of the same type), ignore_presence, "
        "unordered, tolerance (with `by`), instant (the same moment in any format), matches (with `regex`), "
        "map (ids that stand for each other one to one)."
    )
    reason: Text = Field(description="Why clients do not mind; required.")
    until: Day | None = Field(
        None, description="The last day on which the rule holds; past it, `gateway compare` fails."
    )
    ticket: Text | None = Field(None, description="Where the work to remove the rule is tracked.")
    by: Distance | None = Field(None, description="Of `tolerance`: the largest difference accepted.")
    regex: Regex | None = Field(None, description="Of `matches`: the pattern that both sides must match.")


class RolloutModel(Strict):
    """Automatic moves of a row."""

    steps: Steps = Field(description="The steps, rising.", examples=[["canary 1%", "canary 25%", "new"]])
    mismatch_budget: Budget = Field(
        0.001, description="Share of mismatches that is acceptable; default 0.1%."
    )
    min_requests: Annotated[int, *whole_type(1, 10**9)] = Field(
        500, description="Requests needed at each step; default 500."
    )
    min_time: Duration = Field(600.0, description="Time needed at each step; default 10m.")
    on_fail: Annotated[str, *words_type("shadow", "legacy")] = Field(
        "shadow", description="Where a failed step goes back to: shadow (default) or legacy."
    )
    alpha_promote: Alpha = Field(
        0.05, description="Chance of a false promotion that is acceptable; default 0.05."
    )
    alpha_rollback: Alpha = Field(
        0.01, description="Chance of a false rollback that is acceptable; default 0.01."
    )


class PinModel(Strict):
    """Callers that always get one side."""

    new: PinTexts = Field(default_factory=list, description="Callers that new always answers.")
    legacy: PinTexts = Field(default_factory=list, description="Callers that legacy always answers.")


class EquivalencesModel(Strict):
    """Differences that count as none."""

    key_order: Flag | None = Field(None, description="The order of keys in a JSON object; on by default.")
    json_escapes: Flag | None = Field(None, description="\\u escapes in JSON; on by default.")
    trailing_newline: Flag | None = Field(None, description="A newline after JSON; on by default.")
    header_case: Flag | None = Field(None, description="Capitals in header names; on by default.")
    date_format: Flag | None = Field(None, description="Two formats of one instant; off by default.")
    number_form: Flag | None = Field(None, description='1, 1.0 and "1"; off by default.')
    null_is_missing: Flag | None = Field(None, description="null and no key at all; off by default.")
    redirect_307_308: Flag | None = Field(None, description="307 and 308 redirects; off by default.")


class RowModel(Strict):
    """What one row may say."""

    stage: StageWord | None = Field(
        None,
        description="legacy: legacy answers. shadow: new gets a copy, the answers are compared. canary: new "
        "answers `weight` of the callers. new: new answers. retired: new answers, legacy's code should go.",
    )
    weight: Percent | None = Field(
        None, description="canary: share of callers that new serves, in steps of 0.01%; default 0%."
    )
    sample: Percent | None = Field(
        None, description="Share of requests compared; default 100% in shadow, 10% in canary, 0% in new."
    )
    sticky: Callers | None = Field(
        None, description="What identifies a caller; the first that is present counts."
    )
    group: Text | None = Field(None, description="Rows of one group share the assignment of callers.")
    pin: Annotated[PinModel | None, BeforeValidator(manual)] = Field(
        None, description="Callers that always get one side."
    )
    timeout: Duration | None = Field(
        None, description="Time to the first byte of the primary's response; default 30s."
    )
    fallback: Annotated[str, *words_type("legacy", "none")] | None = Field(
        None, description="legacy: legacy answers when new failed before anything was sent; default none."
    )
    safe: Flag | None = Field(
        None, description="Says that the row writes nothing, or that writing twice does no harm."
    )
    writes: Annotated[str, *words_type("skip", "rehearse")] | None = Field(
        None, description="How methods that write are compared: skip (default) or rehearse."
    )
    new_path: NewPath | None = Field(
        None, description="The path on the new backend, same parameter names, when it differs."
    )
    rate_limit: Rates = Field(None, description="Requests allowed, both backends together.")
    rate_key: Callers | None = Field(
        None, description="Who a rate limit counts, as in `sticky`; default client."
    )
    body_limit: SizeOrNone = Field(None, description="Largest request body; 413 beyond. Default none.")
    allow_encoded_slash: Flag | None = Field(None, description="%2F in a parameter is passed to new.")
    rollout: Annotated[RolloutModel | None, BeforeValidator(manual)] = Field(
        None, description="Automatic moves, or manual (default)."
    )
    compare: list[RuleModel] | None = Field(
        None, description="Rules for differences, added to those of `defaults`."
    )
    equivalences: EquivalencesModel | None = Field(None, description="Differences that count as none.")
    strict: Flag | None = Field(None, description="true: no difference is equivalent to none.")
    owner: Text | None = Field(None, description="Who looks after this row; shown, never interpreted.")
    ticket: Text | None = Field(None, description="Where the work is tracked; shown, never interpreted.")
    note: Text | None = Field(None, description="For people; shown, never interpreted.")


class DefaultsModel(RowModel):
    """What every row says that does not say otherwise."""

    error_shape: ErrorShapeValue | None = Field(
        None, description="The same as server.error_shape, which wins."
    )


class BackendModel(Strict):
    """How one backend is reached: exactly one of wsgi, asgi, url and command."""

    wsgi: ImportString | None = Field(
        None, description="A WSGI app in this process: module:attribute or module:factory()."
    )
    asgi: ImportString | None = Field(
        None, description="An ASGI app in this process: module:attribute or module:factory()."
    )
    url: UpstreamUrl | None = Field(None, description="An app that runs elsewhere: http(s)://HOST:PORT.")
    command: Argv | None = Field(
        None, description="A process that the gateway starts and watches; {address} becomes HOST:PORT."
    )
    threads: Annotated[int, *whole_type(1, 10_000)] | None = Field(
        None, description="Of wsgi: worker threads; default 16."
    )
    queue: Annotated[int, *whole_type(0, 1_000_000)] | None = Field(
        None, description="Of wsgi: requests that may wait for a thread; default 128."
    )
    bridge: Annotated[str, *words_type("gateway", "a2wsgi")] | None = Field(
        None, description="Of wsgi: which bridge; default gateway."
    )
    rules: Text | None = Field(
        None, description="Of a legacy url or command: a file with the output of `flask routes`."
    )
    root_path: RootPath = Field("", description="The prefix under which the app believes it is mounted.")
    pool: Annotated[int, *whole_type(1, 100_000)] | None = Field(
        None, description="Of url and command: connections kept; default 100."
    )
    connect_timeout: Duration | None = Field(
        None, description="Of url and command: time to connect; default 2s."
    )


class BackendsModel(Strict):
    """The two apps."""

    model_config = ConfigDict(json_schema_extra={"required": ["legacy", "new"]})

    legacy: BackendModel | None = Field(None, description="The app that is being replaced.")
    new: BackendModel | None = Field(None, description="The app that replaces it.")


class ServerModel(Strict):
    """The gateway's own public behaviour."""

    trusted_proxies: Networks | None = Field(
        None, description="Addresses or networks whose forwarding headers the gateway believes."
    )
    expose: Flag = Field(True, description="Whether responses carry X-Served-By.")
    prefix: PublicPath = Field("/-", description="The prefix of the gateway's own public paths.")
    docs: PathOrOff = Field("/docs", description="The path of the merged documentation, or off.")
    openapi: PathOrOff = Field("/openapi.json", description="The path of the merged OpenAPI, or off.")
    error_shape: ErrorShapeValue | None = Field(
        None, description="The shape of the gateway's own errors: problem (RFC 9457), legacy, {key: error}."
    )
    override_token: Secret | None = Field(
        None, description="The secret of the testers' override, as ${NAME}; without it the override is off."
    )


class WebhookModel(Strict):
    """One receiver of events."""

    url: EnvText = Field(description="Where events are posted.")
    secret: Secret | None = Field(None, description="What signs them, as ${NAME}.")


class CompareModel(Strict):
    """Settings of comparison for the whole table."""

    redact: list[Text] | None = Field(
        None,
        description="Names of headers and fields whose values are never stored, beside the built-in ones.",
    )
    identity_keys: list[Text] | None = Field(
        None, description="Fields by which list items are matched; default [id, uuid]."
    )
    body_cap: Size | None = Field(None, description="Captured of each body; default 256KiB.")
    memory_cap: Size | None = Field(None, description="Held by captures in all; default 64MiB.")


Row = Annotated[RowModel, BeforeValidator(row_keys)]


class FileModel(Strict):
    """The migration table of a strangler gateway: who answers, endpoint by endpoint."""

    model_config = ConfigDict(json_schema_extra={"required": ["version", "backends", "routes"]})

    version: Annotated[int, *whole_type(1, 1)] = Field(1, description="The version of this format: 1.")
    backends: BackendsModel | None = Field(None, description="The two apps.")
    defaults: Annotated[DefaultsModel, BeforeValidator(section), BeforeValidator(defaults_keys)] = Field(
        DefaultsModel(), description="What every row says that does not say otherwise."
    )
    routes: Annotated[dict[str, Row], BeforeValidator(section)] = Field(
        default_factory=dict, description="The rows: METHODS PATH, and a stage or a mapping."
    )
    salt: Text | None = Field(None, description="Of the sticky assignment; changing it deals anew.")
    server: Annotated[ServerModel, BeforeValidator(section)] = Field(
        ServerModel(), description="The gateway's own public behaviour."
    )
    store: EnvText | None = Field(
        None, description="SQLAlchemy URL of the state; default SQLite in .gateway/ beside this file."
    )
    shared: EnvText | None = Field(None, description="Redis URL for state shared between machines.")
    events: list[WebhookModel] | None = Field(None, description="Webhooks that receive every event.")
    compare: Annotated[CompareModel, BeforeValidator(section)] = Field(
        CompareModel(), description="Settings of comparison for the whole table."
    )


SHORTHAND_SHAPE: dict[str, Any] = {
    "type": "string",
    "pattern": SHORTHAND_PATTERN,
    "description": "A stage; a percentage behind it is its weight (canary) or its sample (shadow, new).",
    "examples": ["legacy", "shadow", "shadow 20%", "canary 5%", "new", "new 1%", "retired"],
}
"""The JSON Schema of a row in one line."""
