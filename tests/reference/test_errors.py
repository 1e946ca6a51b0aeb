"""Failures are told in one shape, and an unforeseen one tells the client nothing and the log everything."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from sqlalchemy import text

from tests.reference.conftest import database_is_not_asked

if TYPE_CHECKING:
    import httpx
    import pytest

    from tests.reference.conftest import Database


def test_an_unhandled_error_is_logged_with_its_request_and_answered_without_internals(
    client: httpx.Client, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    with database.engine.begin() as connection:
        connection.execute(text("ALTER TABLE products RENAME TO gone"))

    with caplog.at_level(logging.ERROR):
        answer = client.get("/api/data", headers={"X-Request-ID": "request-4711"})

    assert (answer.status_code, answer.json()) == (500, {"error": "Internal server error"})
    [record] = [record for record in caplog.records if "request-4711" in record.getMessage()]
    assert record.getMessage() == "GET /api/data failed, request request-4711"
    assert record.exc_info is not None
    assert "products" in str(record.exc_info[1])


@database_is_not_asked
def test_an_unknown_path_is_not_found(client: httpx.Client) -> None:
    answer = client.get("/no/such/path")

    assert (answer.status_code, answer.json()) == (404, {"error": "Not found"})


@database_is_not_asked
def test_a_method_that_does_not_fit_is_told_which_do(client: httpx.Client) -> None:
    answer = client.delete("/dashboard")

    assert (answer.status_code, answer.json()) == (405, {"error": "Method not allowed"})
    assert "GET" in answer.headers["Allow"]
