//! What a file holds: tables with all that SQLite says of them, and what is left out, with its
//! reason.

use rusqlite::types::ValueRef;
use serde_json::{Map, Value as Json, json};

use super::database::Sqlite;
use super::declaration::{Declaration, IndexDeclaration, module_of, option_of};
use crate::postgres::quote_identifier;
use crate::source::SourceError;

/// A table.
#[derive(Clone, Debug)]
pub struct SqliteTable {
    /// Name.
    pub name: String,
    /// Columns of the primary key, in order; empty when there is none.
    pub key: Vec<String>,
    /// All columns that hold values, generated ones too, in order.
    pub columns: Vec<SqliteColumn>,
    /// What becomes a document's `_id`.
    pub id: RowId,
    /// A module keeps its rows.
    pub is_virtual: bool,
    /// Indexes that hold each row of the table.
    pub full_indexes: Vec<String>,
    /// What SQLite says of it: its SQL, columns, foreign keys.
    pub options: Json,
    /// Its indexes, as SQL where they have any.
    pub indexes: Vec<Json>,
}

/// A column and the field that holds its values.
#[derive(Clone, Debug)]
pub struct SqliteColumn {
    /// Name.
    pub name: String,
    /// The field of the documents.
    pub field: String,
}

/// What tells the rows of a table apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowId {
    /// The primary key.
    Key,
    /// The number of the row that SQLite keeps, by a name that no column has.
    Rowid(&'static str),
    /// The row's place: columns have all names of the rowid.
    Number,
}

impl RowId {
    /// As the manifest writes it.
    fn name(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Rowid(_) => "rowid",
            Self::Number => "number",
        }
    }
}

/// Something whose rows are not read.
#[derive(Clone, Debug)]
pub struct Left {
    /// Name.
    pub name: String,
    /// `view`, `trigger`, `table`.
    pub kind: String,
    /// Why it is left out.
    pub reason: String,
    /// Its SQL.
    pub sql: String,
}

impl Left {
    /// What it is, where its loss is one to an application: tables that SQLite or a module keeps for
    /// itself are not.
    pub fn said(&self) -> Option<String> {
        let kind = match self.kind.as_str() {
            "table" if module_of(&self.sql).is_some() => "virtual table",
            "table" => return None,
            other => other,
        };
        Some(format!("{kind} {} is not carried over: {}", self.name, self.reason))
    }
}

/// A row of `sqlite_master` with what `pragma_table_list` knows of it.
struct Listed {
    kind: String,
    name: String,
    sql: String,
    /// `table`, `virtual`, `shadow`.
    table_kind: String,
    without_rowid: bool,
    strict: bool,
}

type Rows = Vec<Vec<Json>>;

impl Sqlite {
    /// The tables, by name, and what is left out.
    pub fn tables(&self) -> Result<(Vec<SqliteTable>, Vec<Left>), SourceError> {
        let listed = self.listed()?;
        let (mut tables, mut left) = (Vec::new(), Vec::new());
        for one in &listed {
            let reason = match one.kind.as_str() {
                "view" => Some("a view holds no rows of its own".to_owned()),
                "trigger" => Some("a trigger holds no rows".to_owned()),
                _ if one.name.eq_ignore_ascii_case("sqlite_sequence") => {
                    Some("SQLite's own table: its numbers are staged with their tables".to_owned())
                }
                _ if one.name.starts_with("sqlite_") => Some("SQLite's own table".to_owned()),
                _ if one.table_kind == "shadow" => Some(shadow_of(&listed, &one.name)),
                _ if one.table_kind == "virtual" => self.why_virtual_is_left(&listed, one),
                _ => None,
            };
            match reason {
                Some(reason) => left.push(Left {
                    name: one.name.clone(),
                    kind: one.kind.clone(),
                    reason,
                    sql: one.sql.clone(),
                }),
                None => tables.push(self.table(one)?),
            }
        }
        Ok((tables, left))
    }

    /// What the file says of itself as a whole.
    pub fn settings(&self) -> Result<Json, SourceError> {
        let mut settings = Map::new();
        for name in ["user_version", "application_id", "encoding"] {
            let row = self.query("look at the file's header", &format!("PRAGMA {name}"), &[])?;
            let value = row.into_iter().flatten().next().unwrap_or(Json::Null);
            if value != 0 {
                settings.insert(name.to_owned(), value);
            }
        }
        Ok(Json::Object(settings))
    }

    fn listed(&self) -> Result<Vec<Listed>, SourceError> {
        let rows = self.query(
            "list the tables",
            "SELECT m.type, m.name, coalesce(m.sql, ''), coalesce(l.type, ''), \
                    coalesce(l.wr, 0), coalesce(l.strict, 0) \
             FROM main.sqlite_master m \
             LEFT JOIN pragma_table_list l ON l.schema = 'main' AND l.name = m.name \
             WHERE m.type IN ('table', 'view', 'trigger') ORDER BY m.name",
            &[],
        )?;
        Ok(rows
            .iter()
            .map(|row| Listed {
                kind: text(&row[0]),
                name: text(&row[1]),
                sql: text(&row[2]),
                table_kind: if row[0] == "table" { text(&row[3]) } else { String::new() },
                without_rowid: row[4] == 1,
                strict: row[5] == 1,
            })
            .collect())
    }

    /// Why the rows of a virtual table are not read: they are those of another, or its module is
    /// not there.
    fn why_virtual_is_left(&self, listed: &[Listed], one: &Listed) -> Option<String> {
        let (module, arguments) = module_of(&one.sql).unwrap_or_default();
        let content = option_of(&arguments, "content").filter(|_| module.starts_with("fts"));
        match content.as_deref() {
            Some("") if option_of(&arguments, "contentless_unindexed").as_deref() != Some("1") => {
                return Some(format!("a virtual table ({module}) that holds an index and no text"));
            }
            Some("") | None => {}
            Some(table) => {
                return Some(format!("a virtual table ({module}) over the text of {table}"));
            }
        }
        let sql = format!("SELECT * FROM {} LIMIT 0", quote_identifier(&one.name));
        if self.connection.prepare(&sql).is_err() {
            return Some(format!(
                "a virtual table whose module {module} is not at hand; the tables in which it \
                 keeps its rows are read as they are"
            ));
        }
        let prefix = format!("{}_", one.name);
        let keeps = listed.iter().any(|other| {
            other.table_kind == "shadow" && other.name.get(..prefix.len()) == Some(prefix.as_str())
        });
        (!keeps).then(|| format!("a virtual table ({module}) that holds no rows of its own"))
    }

    fn table(&self, listed: &Listed) -> Result<SqliteTable, SourceError> {
        let name = &listed.name;
        let action = format!("look at table {name}");
        let query = |sql: &str| self.query(&action, sql, &[name]);
        let mut columns = query(
            "SELECT name, type, \"notnull\", dflt_value, pk, hidden FROM pragma_table_xinfo(?)",
        )?;
        // Hidden columns of a virtual table are arguments of its module.
        columns.retain(|column| column[5] != 1);
        let mut key: Vec<(i64, String)> = columns
            .iter()
            .filter_map(|column| Some((column[4].as_i64().filter(|at| *at > 0)?, text(&column[0]))))
            .collect();
        key.sort();
        let key: Vec<String> = key.into_iter().map(|(_, name)| name).collect();
        let foreign_keys = query(
            "SELECT id, seq, \"table\", \"from\", \"to\", on_delete, on_update \
             FROM pragma_foreign_key_list(?)",
        )?;
        let declaration = if listed.table_kind == "virtual" {
            Declaration::default()
        } else {
            Declaration::of_table(&listed.sql)
        };
        let (indexes, full_indexes) = self.indexes(listed)?;
        let null_keys = self.null_keys(listed, &columns, &key)?;
        let names: Vec<String> = columns.iter().map(|column| text(&column[0])).collect();
        let id = if key.is_empty() || null_keys > 0 { row_id(&names) } else { RowId::Key };
        // The document's own `_id` has this name.
        let free = id == RowId::Key && key == ["_id"];
        let fields: Vec<SqliteColumn> = names
            .iter()
            .map(|name| SqliteColumn {
                name: name.clone(),
                field: if name == "_id" && !free { other_field(&names) } else { name.clone() },
            })
            .collect();
        let mut options = json!({
            "sql": listed.sql,
            "columns": columns_json(&columns, &fields, &declaration),
            "foreign_keys": references_json(&foreign_keys, &declaration),
            "id": id.name(),
        });
        if let Some(options) = options.as_object_mut() {
            options.extend(properties(listed, &declaration));
            let checks = self.checks(listed, &declaration);
            if !checks.is_empty() {
                options.insert("checks".to_owned(), checks.into());
            }
            if null_keys > 0 {
                options.insert("null_keys".to_owned(), null_keys.into());
            }
            if declaration.autoincrement {
                let sql = "SELECT max(seq) FROM main.sqlite_sequence WHERE name = ?";
                let given = query(sql)?.into_iter().flatten().next().filter(Json::is_i64);
                options.extend(given.map(|given| ("sequence".to_owned(), given)));
            }
        }
        Ok(SqliteTable {
            name: name.clone(),
            key,
            columns: fields,
            id,
            is_virtual: listed.table_kind == "virtual",
            full_indexes,
            options,
            indexes,
        })
    }

    /// The indexes of a table, and the names of those that hold every row.
    fn indexes(&self, listed: &Listed) -> Result<(Vec<Json>, Vec<String>), SourceError> {
        let action = format!("look at the indexes of {}", listed.name);
        let rows = self.query(
            &action,
            "SELECT i.name, i.\"unique\", m.sql, i.partial, i.origin FROM pragma_index_list(?) i \
             LEFT JOIN main.sqlite_master m ON m.type = 'index' AND m.name = i.name \
             ORDER BY i.name",
            &[&listed.name],
        )?;
        let (mut indexes, mut full) = (Vec::new(), Vec::new());
        for index in rows {
            let name = text(&index[0]);
            let parts = self.query(
                &action,
                "SELECT name, \"desc\", coll FROM pragma_index_xinfo(?) WHERE key = 1 ORDER BY seqno",
                &[&name],
            )?;
            let declared = IndexDeclaration::of_index(index[2].as_str().unwrap_or_default());
            let described = parts.iter().enumerate().map(|(at, part)| {
                let expression = declared.parts.get(at).map(|part| part.expression.clone());
                let expression = expression.filter(|_| part[0].is_null());
                json!({"name": part[0], "descending": part[1] == 1, "collation": part[2],
                    "expression": expression})
            });
            let columns: Vec<Json> = parts.iter().map(|part| part[0].clone()).collect();
            indexes.push(json!({
                "name": name, "unique": index[1] == 1, "sql": index[2], "partial": index[3] == 1,
                "origin": index[4], "columns": columns, "parts": described.collect::<Vec<_>>(),
                "where": declared.condition,
            }));
            // The key of a table without rowid is the table itself.
            if index[3] != 1 && !(listed.without_rowid && index[4] == "pk") {
                full.push(name);
            }
        }
        Ok((indexes, full))
    }

    /// The conditions of a table, each with the rows that break it: SQLite does not look at rows
    /// that are there when a condition is added, and can be told to look at none.
    fn checks(&self, listed: &Listed, declaration: &Declaration) -> Vec<Json> {
        let checks = declaration.checks.iter().map(|check| {
            let sql = format!(
                "SELECT count(*) FROM {} NOT INDEXED WHERE NOT ({})",
                quote_identifier(&listed.name),
                check.expression
            );
            // A condition may call a function of the application's own.
            let broken: Option<i64> = self.connection.query_row(&sql, [], |row| row.get(0)).ok();
            json!({"name": check.name, "column": check.column, "sql": check.expression,
                "broken": broken})
        });
        checks.collect()
    }

    /// Rows with NULL in their primary key, which SQLite allows in most tables.
    fn null_keys(
        &self,
        listed: &Listed,
        columns: &Rows,
        key: &[String],
    ) -> Result<u64, SourceError> {
        let nullable =
            |column: &&Vec<Json>| column[4].as_i64().is_some_and(|at| at > 0) && column[2] != 1;
        if listed.without_rowid || listed.table_kind == "virtual" {
            return Ok(0);
        }
        let of_key: Vec<&Vec<Json>> = columns.iter().filter(nullable).collect();
        if of_key.is_empty() {
            return Ok(0);
        }
        // A key that is the rowid under another name is never NULL, and has no index.
        let has_index = self.query(
            &format!("look at the key of {}", listed.name),
            "SELECT count(*) FROM pragma_index_list(?) WHERE origin = 'pk'",
            &[&listed.name],
        )?;
        if key.len() == 1 && has_index.first().is_some_and(|row| row[0] == 0) {
            return Ok(0);
        }
        let conditions: Vec<String> = of_key
            .iter()
            .map(|column| format!("{} IS NULL", quote_identifier(&text(&column[0]))))
            .collect();
        let sql = format!(
            "SELECT count(*) FROM {} NOT INDEXED WHERE {}",
            quote_identifier(&listed.name),
            conditions.join(" OR ")
        );
        let rows = self.query(&format!("look at the key of {}", listed.name), &sql, &[])?;
        Ok(rows.first().and_then(|row| row[0].as_u64()).unwrap_or(0))
    }

    /// All rows of a short answer.
    fn query(&self, action: &str, sql: &str, values: &[&str]) -> Result<Rows, SourceError> {
        let failed = || self.failed(action.to_owned());
        let mut statement = self.connection.prepare(sql).map_err(failed())?;
        let width = statement.column_count();
        let rows = statement
            .query_map(rusqlite::params_from_iter(values), |row| {
                (0..width).map(|at| Ok(json_of(row.get_ref(at)?))).collect()
            })
            .map_err(failed())?;
        rows.collect::<Result<Rows, _>>().map_err(failed())
    }
}

/// What a table's SQL says of the table as a whole.
fn properties(listed: &Listed, declaration: &Declaration) -> Map<String, Json> {
    let mut properties = Map::new();
    let mut add = |name: &str, value: Json| properties.insert(name.to_owned(), value);
    if !declaration.conflicts.is_empty() {
        add("on_conflict", declaration.conflicts.clone().into());
    }
    for (name, is) in [
        ("without_rowid", listed.without_rowid),
        ("strict", listed.strict),
        ("autoincrement", declaration.autoincrement),
    ] {
        if is {
            add(name, true.into());
        }
    }
    if let Some((module, _)) = module_of(&listed.sql).filter(|_| listed.table_kind == "virtual") {
        add("module", module.into());
    }
    properties
}

/// The name of the rowid that no column has.
fn row_id(columns: &[String]) -> RowId {
    let taken = |name: &&str| columns.iter().any(|column| column.eq_ignore_ascii_case(name));
    let free = ["rowid", "_rowid_", "oid"].into_iter().find(|name| !taken(name));
    free.map_or(RowId::Number, RowId::Rowid)
}

/// A field for the values of a column `_id`: `_id_`, with more underscores where that is taken.
fn other_field(columns: &[String]) -> String {
    let mut field = "_id_".to_owned();
    while columns.contains(&field) {
        field.push('_');
    }
    field
}

/// The virtual table whose module keeps this table.
fn shadow_of(listed: &[Listed], name: &str) -> String {
    let owner = |one: &&Listed| {
        let rest = name.strip_prefix(one.name.as_str());
        one.table_kind == "virtual" && rest.is_some_and(|rest| rest.starts_with('_'))
    };
    let owner = listed.iter().filter(owner).max_by_key(|one| one.name.len());
    format!("kept by the virtual table {}", owner.map_or("of its name", |one| &one.name))
}

fn columns_json(columns: &Rows, fields: &[SqliteColumn], declared: &Declaration) -> Json {
    let described = columns.iter().zip(fields).map(|(column, field)| {
        let mut described = json!({"name": column[0], "type": column[1], "not_null": column[2] == 1,
            "default": column[3], "key": column[4]});
        let mut add = |name: &str, value: Json| {
            if let Some(described) = described.as_object_mut() {
                described.insert(name.to_owned(), value);
            }
        };
        if field.field != field.name {
            add("field", field.field.clone().into());
        }
        let own = declared.columns.iter().find(|own| own.name.eq_ignore_ascii_case(&field.name));
        if let Some(collation) = own.and_then(|own| own.collation.as_ref()) {
            add("collation", collation.to_uppercase().into());
        }
        match column[5].as_i64() {
            Some(2) => add("generated", "virtual".into()),
            Some(3) => add("generated", "stored".into()),
            _ => return described,
        }
        if let Some(expression) = own.and_then(|own| own.generated.as_ref()) {
            add("expression", expression.clone().into());
        }
        described
    });
    described.collect()
}

fn references_json(references: &Rows, declared: &Declaration) -> Json {
    let described = references.iter().map(|key| {
        let own: Vec<String> =
            references.iter().filter(|other| other[0] == key[0]).map(|one| text(&one[3])).collect();
        let same = |left: &[String]| {
            left.len() == own.len()
                && left.iter().zip(&own).all(|(left, right)| left.eq_ignore_ascii_case(right))
        };
        let found = declared.references.iter().find(|reference| {
            same(&reference.columns) && reference.table.eq_ignore_ascii_case(&text(&key[2]))
        });
        json!({"id": key[0], "position": key[1], "table": key[2], "from": key[3], "to": key[4],
            "on_delete": key[5], "on_update": key[6],
            "deferrable": found.and_then(|found| found.deferrable)})
    });
    described.collect()
}

fn text(json: &Json) -> String {
    json.as_str().map(str::to_owned).unwrap_or_default()
}

fn json_of(value: ValueRef<'_>) -> Json {
    match value {
        ValueRef::Null | ValueRef::Blob(_) => Json::Null,
        ValueRef::Integer(number) => number.into(),
        ValueRef::Real(number) => number.into(),
        ValueRef::Text(text) => String::from_utf8_lossy(text).into(),
    }
}
