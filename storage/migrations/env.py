"""Alembic's entry: runs the migrations on the connection that `storage.schema_version.upgrade` holds the lock with."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    version_table_schema="footnote",
    transaction_per_migration=True,  # one of them commits on its way, so as not to hold locks
)
with context.begin_transaction():
    context.run_migrations()
