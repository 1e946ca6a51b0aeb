"""Turn evidence into verdicts, and verdicts into stages.

Everything but :mod:`~gateway.rollout.persistence` is pure: time is an argument, and nothing here waits,
draws lots or touches a store. What shadowing, serving and the controller rely on:

**Counting** (:mod:`~gateway.rollout.evidence`, names for ``Store.record``) ::

    request_counters(side, is_error=, seconds=) -> {name: n}       # one answered primary request
    COUNTER_NAMES: comparisons, mismatches, waived, new_only_failures, legacy_only_failures,
                   timed_pairs, slower_pairs, fallbacks, legacy.requests, new.errors, ...
    sketch_bit(caller_digest) -> (word, bits)                      # for Store.record_caller
    Evidence, SideEvidence, Latency, CallerSketch                  # frozen, add up with +

**Judging** (:mod:`~gateway.rollout.verdict`) ::

    judge(row, position, run: [(RolloutStep, Evidence)], now=) -> Verdict(outcome, sentence, findings)
    Outcome.PASS → advance(); FAIL → roll_back(); INCONCLUSIVE → nothing
    false_moves_allowed(rollouts) -> (promotions, rollbacks)

**Positions** (:mod:`~gateway.rollout.positions`); each returns a Move, or None where nothing moves ::

    effective_step(row, position | None) -> RolloutStep            # what a worker serves
    evidence_scope(row, position | None) -> (run, step)
    settle(row, position | None, route_id=, now=)                  # hold it against the file, at every load
    place(row, route_id=, now=)                                    # also where settle gives none a position
    advance(row, position, now=, by=, reason=)    roll_back(...)    resume(...)    move_to(..., step, ...)
    hold(position, by=, reason=)                  forget(position)
    ladder(row), next_step(row, position), step_name(step), fingerprint(row), rank(step)

**Store** (:mod:`~gateway.rollout.persistence`) ::

    scope_of(route_id, row, position | None) -> Scope
    run_evidence(row, position, Ledger.evidence([...])) -> [(RolloutStep, Evidence)]
    to_record(position, version) / from_record(record)
    event_of(move, position, now=, verdict=None) -> EventRecord

One turn of the controller, every second, by whoever holds the lease: read positions and evidence; for each
row ``settle``, then ``judge``; make the move; ``save_position(to_record(...), event_of(...), lease=lease)``.
A save that returns None lost a race: read again.

**Breaker** (:mod:`~gateway.rollout.breaker`), one a route and worker, on the event loop's clock ::

    breaker.way(now) -> "new" | "legacy" | "probe"
    breaker.record_new(now, is_failure=, is_probe=False) -> bool   # True: it opened or closed
    breaker.record_legacy(now, is_failure=); breaker.record_request(now, is_fallback=) -> bool
    breaker.abandon_probe(); .state, .reason, .times_opened, .wait_s, .is_legacy_failing

**Statistics**: :mod:`~gateway.rollout.parity`, :mod:`~gateway.rollout.canary`, :mod:`~gateway.rollout.pairs`,
:mod:`~gateway.rollout.latency`, :mod:`~gateway.rollout.bounds`.
"""
