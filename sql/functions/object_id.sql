-- ObjectId ↔ UUID, the same two conversions as `docferry id`, for applications with old ids.
-- Layout of the UUID (version 7): seconds × 1000 in 48 bits, the ObjectId's other 64 bits as 12 in
-- rand_a and 52 at the top of rand_b, then 10 zero bits.

CREATE OR REPLACE FUNCTION docferry_uuid(object_id text) RETURNS uuid
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN CASE WHEN object_id ~ '^[0-9A-Fa-f]{24}$' THEN (
    lpad(to_hex(('x' || lpad(substr(object_id, 1, 8), 16, '0'))::bit(64)::bigint * 1000), 12, '0')
    || '7' || substr(object_id, 9, 3)
    || lpad(to_hex((B'10' || ('x' || substr(object_id, 12, 13))::bit(52) || B'0000000000')::bit(64)::bigint), 16, '0')
)::uuid END;

CREATE OR REPLACE FUNCTION docferry_object_id(id uuid) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN (
    SELECT CASE
        WHEN substr(hex, 13, 1) = '7'
            AND substring(low FROM 1 FOR 2) = B'10'
            AND substring(low FROM 55 FOR 10) = B'0000000000'
            AND millis % 1000 = 0
            AND millis / 1000 <= 4294967295
        THEN lpad(to_hex(millis / 1000), 8, '0')
            || substr(hex, 14, 3)
            || lpad(to_hex((B'000000000000' || substring(low FROM 3 FOR 52))::bit(64)::bigint), 13, '0')
    END
    FROM (
        SELECT hex,
            ('x' || substr(hex, 17, 16))::bit(64) AS low,
            ('x' || lpad(substr(hex, 1, 12), 16, '0'))::bit(64)::bigint AS millis
        FROM (SELECT replace(id::text, '-', '') AS hex) AS digits
    ) AS fields
);
