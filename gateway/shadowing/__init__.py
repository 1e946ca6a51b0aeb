"""Make the second call of a compared request, off the request's way, and hold the two answers together.

exchange.py   what was captured of one request and its answer
capture.py    the taps between server and primary that capture it as it streams past
call.py       one call of the other backend that changes nothing
writes.py     SQL writes of such a call are refused, not merely noticed
shadows.py    when the second calls are made, what is dropped and why
fair_queue.py the bounded queue, dealt out among routes
ledger.py     what the comparisons came to, per route
keeping.py    a finding as the store keeps it

And rehearse writes before legacy makes them:

rehearsing.py   one rehearsal: new's call, its time, what it came to
rehearsal.py    what new may touch meanwhile, what it was refused, and the end
outer.py        the transaction that is never committed; sqlite_copy.py where it would be in the way
engines.py      SQLAlchemy's engines, walls.py everything else: watched for what could not be undone
written.py      which rows a call wrote; rehearsed.py holds both sides' together
"""
