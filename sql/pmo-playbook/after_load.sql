-- What the pipeline file cannot say: full-text search over an expression, and triggers that keep
-- updated_at. They come after the load, so that migrated rows keep the dates they had.

CREATE INDEX idx_agent_sops_search ON agent_sops
    USING gin (to_tsvector('english'::regconfig, searchable_content));

CREATE FUNCTION update_updated_at_column() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at = CURRENT_TIMESTAMP;
    RETURN NEW;
END
$$;

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['projects', 'human_sops', 'agent_sops', 'chat_histories', 'user_feedback',
        'message_feedback', 'change_proposals', 'sop_version_histories', 'users']
    LOOP
        EXECUTE format(
            'CREATE TRIGGER %I BEFORE UPDATE ON %I FOR EACH ROW EXECUTE FUNCTION update_updated_at_column()',
            'update_' || name || '_updated_at', name);
    END LOOP;
END
$$;
