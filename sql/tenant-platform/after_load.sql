-- What the pipeline file cannot say: how a session gets its tenant, full-text search of pages kept
-- by a trigger, and views for reporting.

CREATE OR REPLACE FUNCTION set_tenant(tenant uuid) RETURNS void LANGUAGE sql AS $$
SELECT set_config('app.current_tenant_id', tenant::text, false)
$$;

CREATE OR REPLACE FUNCTION clear_tenant() RETURNS void LANGUAGE sql AS $$
SELECT set_config('app.current_tenant_id', '', false)
$$;

-- The role that the application uses: it owns nothing and cannot pass the policies by.
DO $$
BEGIN
    CREATE ROLE tenant_platform_app NOLOGIN;
EXCEPTION WHEN duplicate_object THEN
    NULL;
END
$$;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO tenant_platform_app;

ALTER TABLE pages ADD COLUMN search_vector tsvector;

CREATE OR REPLACE FUNCTION pages_search_vector_update() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.search_vector := setweight(to_tsvector('pg_catalog.english', coalesce(NEW.title, '')), 'A')
        || setweight(to_tsvector('pg_catalog.english', coalesce(NEW.meta_description, '')), 'B')
        || setweight(jsonb_to_tsvector('pg_catalog.english', coalesce(NEW.content_blocks, '[]'), '["string"]'), 'C');
    RETURN NEW;
END
$$;

CREATE TRIGGER pages_search_vector_update BEFORE INSERT OR UPDATE ON pages
    FOR EACH ROW EXECUTE FUNCTION pages_search_vector_update();
UPDATE pages SET title = title;
CREATE INDEX idx_pages_search_vector ON pages USING gin (search_vector);

-- Form submissions grow without end, so each month has a partition. What was migrated becomes the
-- default partition as it stands; `add_form_submissions_month` is called ahead of each month.
ALTER TABLE form_submissions RENAME TO form_submissions_migrated;
CREATE TABLE form_submissions (LIKE form_submissions_migrated) PARTITION BY RANGE (created_at);
ALTER TABLE form_submissions
    ADD PRIMARY KEY (id, created_at),
    ADD FOREIGN KEY (tenant_id) REFERENCES tenants (id),
    ADD FOREIGN KEY (form_id) REFERENCES forms (id),
    ADD FOREIGN KEY (lead_id) REFERENCES leads (id);
CREATE INDEX ON form_submissions (tenant_id);
CREATE INDEX ON form_submissions (form_id);
CREATE INDEX ON form_submissions (lead_id);
ALTER TABLE form_submissions ATTACH PARTITION form_submissions_migrated DEFAULT;

CREATE OR REPLACE FUNCTION isolate_tenants(name regclass) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    own text := 'tenant_id = nullif(current_setting(''app.current_tenant_id'', true), '''')::uuid';
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY tenant_isolation ON %s USING (%s) WITH CHECK (%s)', name, own, own);
END
$$;
SELECT isolate_tenants('form_submissions');
GRANT SELECT, INSERT, UPDATE, DELETE ON form_submissions TO tenant_platform_app;

-- A partition is a table of its own, with a policy of its own.
CREATE OR REPLACE FUNCTION add_form_submissions_month(day date) RETURNS regclass LANGUAGE plpgsql AS $$
DECLARE
    first date := date_trunc('month', day);
    name text := 'form_submissions_' || to_char(first, 'YYYY_MM');
BEGIN
    EXECUTE format(
        'CREATE TABLE %I PARTITION OF form_submissions FOR VALUES FROM (%L) TO (%L)',
        name, first, first + interval '1 month'
    );
    PERFORM isolate_tenants(name::regclass);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO tenant_platform_app', name);
    RETURN name::regclass;
END
$$;

-- Reporting crosses tenants on purpose, so the application's role may not read it.
CREATE MATERIALIZED VIEW bookings_by_month AS
    SELECT tenant_id, date_trunc('month', start_time) AS month, status, count(*) AS bookings, sum(total_cost) AS total_cost
    FROM bookings
    -- Beyond these years there is no month to begin with.
    WHERE start_time >= '0001-01-01' AND start_time < '10000-01-01'
    GROUP BY 1, 2, 3;
CREATE UNIQUE INDEX ON bookings_by_month (tenant_id, month, status);

CREATE OR REPLACE FUNCTION refresh_reports() RETURNS void LANGUAGE sql AS $$
REFRESH MATERIALIZED VIEW CONCURRENTLY bookings_by_month
$$;
