"""Whether everybody may read all of a generation: searches need no condition on readers then.

The function looks at all documents, whoever asks, and tells this one thing of them.
"""

from alembic import op

from storage.schema_version import run_script

revision = "0020"
down_revision = "0019"
serves_from = "0019"

OPEN = """
CREATE INDEX documents_restricted ON footnote.documents (generation_id) WHERE NOT access @> '{*}';

CREATE FUNCTION footnote.is_open(generation bigint) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    known_system text := coalesce(current_setting('footnote.system', true), '');
    known_access text := coalesce(current_setting('footnote.access', true), '');
    found boolean;
BEGIN
    -- not by the function's own settings, which only a superuser may give it; an error ends these, too
    PERFORM set_config('footnote.system', 'on', true), set_config('footnote.access', '{+}', true);
    SELECT NOT EXISTS (SELECT FROM footnote.documents WHERE generation_id = generation AND NOT access @> '{*}')
    INTO found;
    PERFORM set_config('footnote.system', known_system, true), set_config('footnote.access', known_access, true);
    RETURN found;
END $$;
"""


def upgrade() -> None:
    """Add the index and the function."""
    run_script(op.get_bind(), OPEN)
