//! What the server says of its own objects.

use std::collections::HashMap;

use tokio_postgres::Client;

use super::{PostgresError, quote_identifier, quote_literal};
use crate::pgcopy::PgType;

fn failed(action: impl Into<String>) -> impl FnOnce(tokio_postgres::Error) -> PostgresError {
    let action = action.into();
    move |source| PostgresError::Statement { action, source }
}

/// The server's identifiers of the enum types of a schema, which arrays of them carry.
pub async fn enum_oids(
    client: &Client,
    schema: &str,
) -> Result<HashMap<String, u32>, PostgresError> {
    let rows = client
        .query(
            "SELECT typname::text, t.oid FROM pg_type t JOIN pg_namespace n ON n.oid = typnamespace \
             WHERE typtype = 'e' AND nspname = $1",
            &[&schema],
        )
        .await
        .map_err(failed("read the enum types"))?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// The labels of the enum types of a schema, in order.
pub async fn enum_labels(
    client: &Client,
    schema: &str,
) -> Result<HashMap<String, Vec<String>>, PostgresError> {
    let rows = client
        .query(
            "SELECT typname::text, array_agg(enumlabel::text ORDER BY enumsortorder) \
             FROM pg_enum e JOIN pg_type t ON t.oid = enumtypid \
             JOIN pg_namespace n ON n.oid = typnamespace WHERE nspname = $1 GROUP BY 1",
            &[&schema],
        )
        .await
        .map_err(failed("read the enum types"))?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// A table as it is in the database.
#[derive(Clone, Debug)]
pub struct TableShape {
    /// Whether this session may alter it.
    pub owned: bool,
    /// Columns, in order.
    pub columns: Vec<ColumnShape>,
    /// Column sets of its whole unique indexes that are checked at once, the primary key's first.
    pub unique: Vec<Vec<String>>,
    /// The same of those that are deferrable.
    pub deferrable: Vec<Vec<String>>,
    /// Definitions of unique indexes that hold values to be equal which differ in their bytes: over
    /// expressions, or by a nondeterministic collation.
    pub folding: Vec<String>,
    /// Triggers that users made and that are enabled.
    pub triggers: Vec<TriggerShape>,
}

/// A column as it is in the database.
#[derive(Clone, Debug)]
pub struct ColumnShape {
    /// Name.
    pub name: String,
    /// Its type, as PostgreSQL prints it.
    pub type_text: String,
    /// The type of the values that it holds, where docferry stages such a type: of a domain what
    /// it is made of, of `citext` `text`.
    pub pg_type: Option<PgType>,
    /// A domain.
    pub domain: Option<Domain>,
    /// Its values are compared without regard to case (`citext`).
    pub folds_case: bool,
    /// A `json`, which sends and takes text: `pg_type` is `jsonb`.
    pub is_json: bool,
    /// A `char(n)`, which keeps no blanks at the end: `pg_type` is `varchar(n)`.
    pub is_padded: bool,
    /// NULL is refused.
    pub not_null: bool,
    /// Default, as SQL.
    pub default: Option<String>,
    /// `GENERATED ALWAYS AS (…) STORED`.
    pub generated: bool,
    /// An identity column.
    pub identity: bool,
}

/// The domain that is the type of a column.
#[derive(Clone, Debug)]
pub struct Domain {
    /// It, or one that it is made of, has CHECK constraints.
    pub checked: bool,
}

/// Joins to column `a` the type of the values that it holds: `t`. A domain sends and takes the
/// values of its base type, which may be a domain too; `citext` sends and takes those of `text`.
/// `t.text` is its name; `t.enum_name` and `t.enum_schema` are those of an enum, or of the elements
/// of an array; `t.in_domain`, `t.checked`, `t.not_null` and `t.value_default` tell of the domains
/// around it.
pub const VALUE_TYPE: &str = "
CROSS JOIN LATERAL (
    WITH RECURSIVE layers AS (
        SELECT y.*, a.atttypmod AS modifier, y.typtype = 'd' AS in_domain, y.typnotnull AS not_null,
            y.typdefault AS value_default, EXISTS (
                SELECT FROM pg_constraint k WHERE k.contypid = y.oid AND k.contype = 'c') AS checked
        FROM pg_type y WHERE y.oid = a.atttypid
        UNION ALL
        SELECT y.*, l.typtypmod, true, l.not_null OR y.typnotnull,
            l.value_default, l.checked OR EXISTS (
                SELECT FROM pg_constraint k WHERE k.contypid = y.oid AND k.contype = 'c')
        FROM layers l JOIN pg_type y ON y.oid = l.typbasetype WHERE l.typtype = 'd'
    )
    SELECT l.*, l.typname = 'citext' AND l.typcategory = 'S' AS folds_case,
        CASE WHEN l.typname = 'citext' AND l.typcategory = 'S' THEN 'text'
             ELSE format_type(l.oid, l.modifier) END AS text,
        e.typname::text AS enum_name, e.typnamespace AS enum_schema
    FROM layers l
    LEFT JOIN pg_type e ON e.typtype = 'e'
        AND e.oid = CASE WHEN l.typcategory = 'A' THEN l.typelem ELSE l.oid END
    WHERE l.typtype <> 'd'
) t";

/// A trigger.
#[derive(Clone, Debug)]
pub struct TriggerShape {
    /// Name.
    pub name: String,
    /// Name of its function.
    pub function: String,
    /// Body of its function.
    pub source: String,
}

/// A type as the catalogue prints it, as docferry writes it.
pub fn catalogue_type(text: &str, enum_name: Option<&str>) -> Option<PgType> {
    if let Some(name) = enum_name {
        let scalar = PgType::Enum(name.to_owned());
        return Some(if text.ends_with("[]") { PgType::Array(Box::new(scalar)) } else { scalar });
    }
    let (base, array) = match text.strip_suffix("[]") {
        Some(base) => (base, "[]"),
        None => (text, ""),
    };
    let base = match (base.strip_suffix(" without time zone"), base.strip_suffix(" with time zone"))
    {
        (Some(base), _) => base.to_owned(),
        (None, Some(base)) => base.replacen("timestamp", "timestamptz", 1),
        (None, None) => base.to_owned(),
    };
    format!("{base}{array}").parse().ok()
}

/// The type that docferry stages for values of a type that it does not make itself: `jsonb` for
/// `json`, `varchar(n)` for `char(n)`.
pub fn staged_type(text: &str, enum_name: Option<&str>) -> Option<PgType> {
    if text == JSON {
        return Some(PgType::Jsonb);
    }
    match text.strip_prefix(PADDED) {
        Some(length) if length.ends_with(')') => format!("varchar({length}").parse().ok(),
        _ => catalogue_type(text, enum_name),
    }
}

/// `json` as the catalogue prints it.
const JSON: &str = "json";
/// `char(n)` as the catalogue prints it, up to its length.
const PADDED: &str = "character(";

/// Reads a table; none when there is no such table.
pub async fn table_shape(
    client: &Client,
    schema: &str,
    table: &str,
) -> Result<Option<TableShape>, PostgresError> {
    let action = || failed(format!("look at table {table}"));
    let found = client
        .query_opt(
            "SELECT c.oid, pg_has_role(relowner, 'USAGE') FROM pg_class c \
             JOIN pg_namespace n ON n.oid = relnamespace \
             WHERE nspname = $1 AND relname = $2 AND relkind IN ('r', 'p')",
            &[&schema, &table],
        )
        .await
        .map_err(action())?;
    let Some(found) = found else { return Ok(None) };
    let (oid, owned): (u32, bool) = (found.get(0), found.get(1));
    let columns = format!(
        "SELECT attname::text, format_type(atttypid, atttypmod), t.enum_name, \
                attnotnull OR t.not_null, coalesce(pg_get_expr(adbin, adrelid), t.value_default), \
                attgenerated <> '', attidentity <> '', t.text, t.in_domain, t.checked, t.folds_case \
         FROM pg_attribute a {VALUE_TYPE} \
         LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum \
         WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
    );
    let rows = client.query(&columns, &[&oid]).await.map_err(action())?;
    let columns = rows.iter().map(|row| {
        let enum_name: Option<String> = row.get(2);
        let in_domain: bool = row.get(8);
        let text: &str = row.get(7);
        ColumnShape {
            name: row.get(0),
            type_text: row.get(1),
            pg_type: staged_type(text, enum_name.as_deref()),
            is_json: text == JSON,
            is_padded: text.starts_with(PADDED) && !text.ends_with(']'),
            domain: in_domain.then(|| Domain { checked: row.get(9) }),
            folds_case: row.get(10),
            not_null: row.get(3),
            default: row.get(4),
            generated: row.get(5),
            identity: row.get(6),
        }
    });
    let unique = client
        .query(
            "SELECT array_agg(attname::text ORDER BY k.at), indimmediate FROM pg_index i \
             CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS k(number, at) \
             JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number \
             WHERE i.indrelid = $1 AND indisunique AND indisvalid AND indpred IS NULL \
               AND indexprs IS NULL AND k.at <= i.indnkeyatts \
             GROUP BY i.indexrelid, indisprimary, indimmediate \
             ORDER BY indisprimary DESC, i.indexrelid",
            &[&oid],
        )
        .await
        .map_err(action())?;
    let sets = |immediate: bool| {
        let rows = unique.iter().filter(|row| row.get::<_, bool>(1) == immediate);
        rows.map(|row| row.get(0)).collect()
    };
    let folding = format!(
        "SELECT pg_get_indexdef(i.indexrelid) FROM pg_index i \
         WHERE i.indrelid = $1 AND indisunique AND indisvalid AND (indexprs IS NOT NULL OR EXISTS ( \
           SELECT FROM unnest(i.indcollation) AS c(oid) JOIN pg_collation l ON l.oid = c.oid \
           WHERE NOT l.collisdeterministic) OR EXISTS ( \
           SELECT FROM unnest(i.indkey) AS k(number) \
           JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number {VALUE_TYPE} \
           WHERE t.folds_case)) ORDER BY 1"
    );
    let folding = client.query(&folding, &[&oid]).await.map_err(action())?;
    let triggers = client
        .query(
            "SELECT tgname::text, proname::text, prosrc FROM pg_trigger \
             JOIN pg_proc p ON p.oid = tgfoid \
             WHERE tgrelid = $1 AND NOT tgisinternal AND tgenabled <> 'D' ORDER BY 1",
            &[&oid],
        )
        .await
        .map_err(action())?;
    Ok(Some(TableShape {
        owned,
        columns: columns.collect(),
        unique: sets(true),
        deferrable: sets(false),
        folding: folding.iter().map(|row| row.get(0)).collect(),
        triggers: triggers
            .iter()
            .map(|row| TriggerShape { name: row.get(0), function: row.get(1), source: row.get(2) })
            .collect(),
    }))
}

/// A constraint or index that can be taken away and made again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aside {
    /// Table it belongs to.
    pub table: String,
    /// `foreign key` or `index`.
    pub kind: String,
    /// Name.
    pub name: String,
    /// The SQL that makes it as it is now, comment included.
    pub make: String,
    /// The SQL that takes it away.
    pub take: String,
}

impl Aside {
    /// Whether its statement is of the form that docferry writes for this object of this table: one
    /// statement that makes it, and one comment at most.
    pub fn is_as_written(&self, schema: &str) -> bool {
        let table = super::qualified(schema, &self.table);
        let names = [quote_identifier(&self.name), self.name.clone()];
        names.iter().any(|name| {
            let (begin, comment) = match self.kind.as_str() {
                "foreign key" => (
                    format!("ALTER TABLE {table} ADD CONSTRAINT {name} FOREIGN KEY ("),
                    format!("; COMMENT ON CONSTRAINT {name} ON {table} IS "),
                ),
                "index" => (format!("CREATE INDEX {name} ON "), "; COMMENT ON INDEX ".to_owned()),
                _ => return false,
            };
            let Some(rest) = self.make.strip_prefix(&begin) else { return false };
            let (definition, text) = match rest.split_once(&comment) {
                Some((definition, text)) => (definition, Some(text)),
                None => (rest, None),
            };
            let text = text.map(|text| match self.kind.as_str() {
                "index" => text.split_once(" IS ").map_or("", |(_, text)| text),
                _ => text,
            });
            text.is_none_or(is_one_literal)
                && match self.kind.as_str() {
                    "foreign key" => is_key_definition(definition),
                    _ => !has_end_of_statement(definition),
                }
        })
    }

    /// For a foreign key that holds for all rows: the SQL that makes it for new rows only. None
    /// for anything else.
    pub fn unvalidated(&self) -> Option<String> {
        if self.kind != "foreign key" {
            return None;
        }
        let (definition, comment) = match self.make.split_once("; COMMENT ON CONSTRAINT ") {
            Some((definition, comment)) => {
                (definition, format!("; COMMENT ON CONSTRAINT {comment}"))
            }
            None => (self.make.as_str(), String::new()),
        };
        let validated = !definition.ends_with(" NOT VALID");
        validated.then(|| format!("{definition} NOT VALID{comment}"))
    }

    /// The SQL that makes a foreign key hold for all rows.
    pub fn validate(&self, schema: &str) -> String {
        let table = super::qualified(schema, &self.table);
        format!("ALTER TABLE {table} VALIDATE CONSTRAINT {}", quote_identifier(&self.name))
    }
}

/// Whether a text is one literal as [`quote_literal`] writes it.
fn is_one_literal(text: &str) -> bool {
    let inside = |text: &str, begin: &str| {
        let inside = text.strip_prefix(begin)?.strip_suffix('\'')?;
        Some(inside.replace("''", "'"))
    };
    let plain = inside(text, "'").filter(|inside| quote_literal(inside) == text);
    let escaped = inside(text, " E'").map(|inside| inside.replace("\\\\", "\\"));
    plain.is_some() || escaped.is_some_and(|inside| quote_literal(&inside) == text)
}

/// Whether a text, after `FOREIGN KEY (`, is the rest of one foreign key: names and the words of
/// its clauses, without anything that could begin another command.
fn is_key_definition(text: &str) -> bool {
    let (mut depth, mut letters) = (1_u32, text.chars());
    while let Some(letter) = letters.next() {
        match letter {
            // A doubled quote ends one name and begins another, which changes nothing here.
            '"' => {
                if !letters.any(|letter| letter == '"') {
                    return false;
                }
            }
            '(' => depth += 1,
            ')' => match depth.checked_sub(1) {
                Some(less) => depth = less,
                None => return false,
            },
            ',' if depth > 0 => {}
            ' ' | '.' | '_' | '$' => {}
            letter if letter.is_alphanumeric() => {}
            _ => return false,
        }
    }
    depth == 0
}

/// Whether a statement ends in the middle of a text: a semicolon outside of quotes.
fn has_end_of_statement(text: &str) -> bool {
    let mut quote = None;
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (None, ';') => return true,
            // What docferry writes has neither comments nor quotes of dollars outside of quotes.
            (None, '-') if letters.peek() == Some(&'-') => return true,
            (None, '/') if letters.peek() == Some(&'*') => return true,
            (None, '$') if matches!(letters.peek(), Some('$')) => return true,
            (None, '\'' | '"') => quote = Some(letter),
            // Where a backslash may escape a quote, the end of the quote is not known.
            (Some('\''), '\\') => return true,
            (Some(open), letter) if open == letter => quote = None,
            _ => {}
        }
    }
    quote.is_some()
}

/// The foreign keys of a table.
pub async fn foreign_keys(
    client: &Client,
    schema: &str,
    table: &str,
) -> Result<Vec<Aside>, PostgresError> {
    let rows = client
        .query(
            "SELECT conname::text, quote_ident(conname), pg_get_constraintdef(k.oid), \
                    obj_description(k.oid, 'pg_constraint') \
             FROM pg_constraint k JOIN pg_class c ON c.oid = conrelid \
             JOIN pg_namespace n ON n.oid = relnamespace \
             WHERE contype = 'f' AND conparentid = 0 AND nspname = $1 AND relname = $2 ORDER BY 1",
            &[&schema, &table],
        )
        .await
        .map_err(failed(format!("read the foreign keys of {table}")))?;
    let target = super::qualified(schema, table);
    Ok(rows
        .iter()
        .map(|row| {
            let (quoted, definition): (String, String) = (row.get(1), row.get(2));
            let comment = row.get::<_, Option<String>>(3).map_or_else(String::new, |comment| {
                let comment = quote_literal(&comment);
                format!("; COMMENT ON CONSTRAINT {quoted} ON {target} IS {comment}")
            });
            Aside {
                table: table.to_owned(),
                kind: "foreign key".to_owned(),
                name: row.get(0),
                make: format!("ALTER TABLE {target} ADD CONSTRAINT {quoted} {definition}{comment}"),
                take: format!("ALTER TABLE {target} DROP CONSTRAINT {quoted}"),
            }
        })
        .collect())
}

/// The indexes of a table that only make queries faster: not unique, not used by a constraint,
/// and with nothing about them that their definition does not say.
pub async fn plain_indexes(
    client: &Client,
    schema: &str,
    table: &str,
) -> Result<Vec<Aside>, PostgresError> {
    let rows = client
        .query(
            "SELECT x.relname::text, quote_ident(n.nspname) || '.' || quote_ident(x.relname), \
                    pg_get_indexdef(x.oid), obj_description(x.oid, 'pg_class') \
             FROM pg_index i JOIN pg_class x ON x.oid = indexrelid JOIN pg_class c ON c.oid = indrelid \
             JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE nspname = $1 AND c.relname = $2 AND c.relkind = 'r' AND NOT indisunique \
               AND indisvalid AND NOT indisclustered AND NOT indisreplident AND x.reltablespace = 0 \
               AND x.relowner = c.relowner \
               AND NOT EXISTS (SELECT 1 FROM pg_constraint WHERE conindid = x.oid) \
               AND NOT EXISTS (SELECT 1 FROM pg_attribute WHERE attrelid = x.oid AND attstattarget >= 0) \
             ORDER BY 1",
            &[&schema, &table],
        )
        .await
        .map_err(failed(format!("read the indexes of {table}")))?;
    Ok(rows
        .iter()
        .map(|row| {
            let (quoted, definition): (String, String) = (row.get(1), row.get(2));
            let comment = row.get::<_, Option<String>>(3).map_or_else(String::new, |comment| {
                format!("; COMMENT ON INDEX {quoted} IS {}", quote_literal(&comment))
            });
            Aside {
                table: table.to_owned(),
                kind: "index".to_owned(),
                name: row.get(0),
                make: format!("{definition}{comment}"),
                take: format!("DROP INDEX {quoted}"),
            }
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aside(kind: &str, make: &str) -> Aside {
        Aside {
            table: "b".to_owned(),
            kind: kind.to_owned(),
            name: "k".to_owned(),
            make: make.to_owned(),
            take: String::new(),
        }
    }

    #[test]
    fn only_what_makes_one_object_of_the_table_is_made_again() {
        let key = "ALTER TABLE \"a\".\"b\" ADD CONSTRAINT k FOREIGN KEY (x, \"Y,;\") REFERENCES a.c(d, e) \
                   MATCH FULL ON DELETE SET NULL (x) DEFERRABLE INITIALLY DEFERRED";
        for (kind, make, expected) in [
            ("foreign key", key.to_owned(), true),
            ("foreign key", format!("{key} NOT VALID"), true),
            (
                "foreign key",
                format!("{key}; COMMENT ON CONSTRAINT k ON \"a\".\"b\" IS 'who''s'"),
                true,
            ),
            (
                "foreign key",
                format!("{key}; COMMENT ON CONSTRAINT k ON \"a\".\"b\" IS 'a'; DROP TABLE x"),
                false,
            ),
            ("foreign key", format!("{key}; ALTER ROLE x SUPERUSER"), false),
            ("foreign key", format!("{key}, OWNER TO x"), false),
            ("foreign key", key.replace("FOREIGN KEY (x", "CHECK (f(x"), false),
            ("foreign key", key.replace("\"b\"", "\"other\""), false),
            ("foreign key", key.replace(" k ", " other "), false),
            (
                "index",
                "CREATE INDEX k ON a.b USING btree (lower(x)) WHERE (x <> ';'::text)".to_owned(),
                true,
            ),
            (
                "index",
                "CREATE INDEX k ON a.b USING btree (x); COMMENT ON INDEX a.k IS 'y'".to_owned(),
                true,
            ),
            (
                "index",
                "CREATE INDEX k ON a.b USING btree (x); ALTER ROLE x SUPERUSER".to_owned(),
                false,
            ),
            ("index", "CREATE INDEX k ON a.b USING btree (x) -- ".to_owned(), false),
            ("trigger", "CREATE TRIGGER k".to_owned(), false),
        ] {
            assert_eq!(aside(kind, &make).is_as_written("a"), expected, "{make}");
        }
    }

    #[test]
    fn types_are_read_as_the_catalogue_prints_them() {
        for (text, expected) in [
            ("timestamp(3) without time zone", "timestamp(3)"),
            ("timestamp with time zone", "timestamptz"),
            ("timestamp(0) with time zone[]", "timestamptz(0)[]"),
            ("character varying(20)", "varchar(20)"),
            ("numeric(10,2)", "numeric(10,2)"),
            ("double precision", "double precision"),
            ("time(3) without time zone", "time(3)"),
        ] {
            assert_eq!(catalogue_type(text, None), expected.parse().ok(), "{text}");
        }
        assert_eq!(catalogue_type("tsvector", None), None);
        assert_eq!(
            catalogue_type("public.\"Mood\"", Some("Mood")),
            Some(PgType::Enum("Mood".into()))
        );
    }
}
