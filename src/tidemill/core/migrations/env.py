"""Alembic's entry: runs the chain on the connection it is given."""

from alembic import context

config = context.config

context.configure(connection=config.attributes["connection"], render_as_batch=True)

with context.begin_transaction():
    context.run_migrations()
