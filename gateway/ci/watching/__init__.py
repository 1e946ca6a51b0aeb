"""Watch what a request does besides answering: statements sent to databases, calls made to others.

Law: the app's behaviour does not change, and what is noted belongs to the request that caused it, through
tasks, threads and pools. What cannot be watched is said to be unknown, and never taken for nothing.

tally.py        what one request did; the context variable by which it is found
patches.py      replace parts of modules, also of those that are imported later, and put them back
followers.py    threads, pools and tasks that a request starts carry its tally on, and are waited for
statements.py   SQLAlchemy on any driver; sqlite3, aiosqlite and psycopg without it
calls.py        http.client (urllib, requests, urllib3), httpcore (httpx), aiohttp; smtplib, aiosmtplib
"""

from gateway.ci.watching.tally import Tally, Watcher

__all__ = ["Tally", "Watcher"]
