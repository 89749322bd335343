-- Where pgvector is installed, the embeddings of resources get a vector beside their JSON, with an
-- index that finds the nearest. All of them must have one length; otherwise they stay JSON only.
DO $$
DECLARE
    size integer;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'vector') THEN
        RETURN;
    END IF;
    SELECT max(jsonb_array_length(embedding)) INTO size FROM resources
        WHERE jsonb_typeof(embedding) = 'array' AND embedding <> '[]'
        HAVING min(jsonb_array_length(embedding)) = max(jsonb_array_length(embedding));
    IF size IS NULL THEN
        RETURN;
    END IF;
    CREATE EXTENSION IF NOT EXISTS vector;
    EXECUTE format('ALTER TABLE resources ADD COLUMN embedding_vector vector(%s)', size);
    UPDATE resources SET embedding_vector = embedding::text::vector
        WHERE jsonb_typeof(embedding) = 'array' AND embedding <> '[]';
    CREATE INDEX idx_resources_embedding ON resources USING hnsw (embedding_vector vector_cosine_ops);
END
$$;
