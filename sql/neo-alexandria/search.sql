-- Full-text search of resources: title before description before creator before publisher. A
-- trigger keeps it, as the application expects; rows that were migrated are filled here.

ALTER TABLE resources ADD COLUMN search_vector tsvector;

CREATE OR REPLACE FUNCTION resources_search_vector(title text, description text, creator text, publisher text)
    RETURNS tsvector LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
SELECT setweight(to_tsvector('pg_catalog.english', coalesce(title, '')), 'A')
    || setweight(to_tsvector('pg_catalog.english', coalesce(description, '')), 'B')
    || setweight(to_tsvector('pg_catalog.english', coalesce(creator, '')), 'C')
    || setweight(to_tsvector('pg_catalog.english', coalesce(publisher, '')), 'D')
$$;

CREATE OR REPLACE FUNCTION resources_search_vector_update() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.search_vector := resources_search_vector(NEW.title, NEW.description, NEW.creator, NEW.publisher);
    RETURN NEW;
END
$$;

UPDATE resources SET search_vector = resources_search_vector(title, description, creator, publisher);

CREATE TRIGGER resources_search_vector_update
    BEFORE INSERT OR UPDATE OF title, description, creator, publisher ON resources
    FOR EACH ROW EXECUTE FUNCTION resources_search_vector_update();

CREATE INDEX idx_resources_search_vector ON resources USING gin (search_vector);
CREATE INDEX idx_resources_title_trgm ON resources USING gin (title gin_trgm_ops);
