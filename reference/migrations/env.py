"""Run the migrations on the database that the caller, or ``DATABASE_URL``, names."""

from __future__ import annotations

from alembic import context
from sqlalchemy import create_engine, pool

from reference.environment import database_url

url = context.config.attributes.get("url") or database_url()

if context.is_offline_mode():
    context.configure(url=url, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
else:
    engine = create_engine(url, poolclass=pool.NullPool)
    # SQLite cannot alter a table in place: Alembic's batch mode copies it instead.
    is_batch = url.get_backend_name() == "sqlite"
    with engine.connect() as connection:
        context.configure(connection=connection, render_as_batch=is_batch)
        with context.begin_transaction():
            context.run_migrations()
