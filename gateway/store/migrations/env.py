"""Run the migrations on the connection that :mod:`gateway.store.migration` opened and locked."""

from alembic import context

from gateway.store.schema import VERSION_TABLE, metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
