//! Columns: types, rules, values, defaults.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{
    ColumnDraft, DANGLING, DEFERRABLE, EMPTY, NUL, NULL_ELEMENTS, ON_DELETE, ON_FAIL, Parser,
    SYSTEM_COLUMNS, UUID_ORDER, Wants, field_path,
};
use crate::pgcopy::PgType;
use crate::pipeline::fields::{Fields, Located, nearest, string, strings};
use crate::pipeline::model::{Column, DefaultValue, FieldPath, Fill, Key, Literal, Origin};

impl Parser {
    pub(super) fn pg_type(&mut self, text: &Located<String>) -> Option<PgType> {
        let (base, array) = match text.value.strip_suffix("[]") {
            Some(base) => (base, true),
            None => (text.value.as_str(), false),
        };
        let found = if self.enums.iter().any(|known| known.name == base) {
            Ok(PgType::Enum(base.to_owned()))
        } else {
            base.parse::<PgType>()
        };
        match found {
            Ok(PgType::Enum(name)) if !self.enums.iter().any(|known| known.name == name) => {}
            Ok(PgType::Array(_)) => {}
            Ok(scalar) => {
                return Some(if array { PgType::Array(Box::new(scalar)) } else { scalar });
            }
            Err(_) => {}
        }
        let known = [
            "boolean",
            "smallint",
            "integer",
            "bigint",
            "real",
            "double precision",
            "numeric",
            "text",
            "varchar",
            "bytea",
            "uuid",
            "jsonb",
            "date",
            "time",
            "timestamp",
            "timestamptz",
        ];
        let enums: Vec<String> = self.enums.iter().map(|known| known.name.clone()).collect();
        let help = nearest(base, known.into_iter().chain(enums.iter().map(String::as_str)));
        self.mistakes.add_with_help(
            text.span.clone(),
            format!("there is no type or enum `{}`", text.value),
            help,
        );
        None
    }

    pub(super) fn column(
        &mut self,
        name: Located<String>,
        table: &DeTable<'_>,
    ) -> Option<(ColumnDraft, Column, Wants)> {
        self.identifier(&name);
        if SYSTEM_COLUMNS.contains(&name.value.as_str()) {
            self.mistakes.add_with_help(
                name.span.clone(),
                format!("every table of PostgreSQL has a column `{}` of its own", name.value),
                Some(format!("name it otherwise: `{0}_ = {{ from = \"{0}\", … }}`", name.value)),
            );
        }
        let mut fields = Fields::new(table);
        let type_text = fields.string("type", &mut self.mistakes);
        let parent = fields.boolean("parent", &mut self.mistakes).unwrap_or(false);
        let ordinal = fields.boolean("ordinal", &mut self.mistakes).unwrap_or(false);
        let member = fields.boolean("member", &mut self.mistakes).unwrap_or(false);
        let element = fields.boolean("element", &mut self.mistakes).unwrap_or(false);
        let presence = fields.boolean("presence", &mut self.mistakes).unwrap_or(false);
        let origin = match fields.get("from") {
            _ if parent => Origin::Parent,
            _ if ordinal => Origin::Ordinal,
            _ if member => Origin::Member,
            _ if element => Origin::Element,
            None => Origin::Paths(vec![FieldPath(vec![name.value.clone()])]),
            Some(value) => match value.get_ref() {
                DeValue::String(text) if text == "*" => Origin::Rest,
                DeValue::String(text) => Origin::Paths(vec![field_path(text)]),
                _ => {
                    let paths = strings(value, "from", &mut self.mistakes);
                    Origin::Paths(paths.iter().map(|path| field_path(&path.value)).collect())
                }
            },
        };
        let origin = self.presence(&name, origin, presence);
        if let Origin::Paths(paths) = &origin
            && paths.iter().flat_map(|path| &path.0).any(|step| step == FieldPath::MEMBERS)
        {
            let message = "only `each` goes through all members (`*`)";
            self.mistakes.add_with_help(
                name.span.clone(),
                message,
                Some("write `\\\\*` for a field of that name".to_owned()),
            );
        }
        let mistakes = &mut self.mistakes;
        let key = match fields.get("key") {
            None => None,
            Some(value) => match value.get_ref() {
                DeValue::Boolean(true) => Some(Key::Value),
                DeValue::Boolean(false) => None,
                DeValue::String(text) if text == "serial" => Some(Key::Serial),
                _ => {
                    mistakes.add(value.span(), "`key` must be true or \"serial\"");
                    None
                }
            },
        };
        let identity =
            fields.boolean("identity", mistakes).unwrap_or(false) || key == Some(Key::Serial);
        let required = fields.boolean("required", mistakes).unwrap_or(false);
        let optional = fields.boolean("optional", mistakes).unwrap_or(false);
        let unique = fields.boolean("unique", mistakes).unwrap_or(false);
        let index = fields.boolean("index", mistakes);
        let coerce = fields.boolean("coerce", mistakes).unwrap_or(false);
        let email = fields.boolean("email", mistakes).unwrap_or(false);
        let reference = fields.string("references", mistakes);
        let on_delete = fields.word("on_delete", ON_DELETE, mistakes).or(self.defaults.on_delete);
        let on_update = fields.word("on_update", ON_DELETE, mistakes);
        let deferrable = fields.word("deferrable", DEFERRABLE, mistakes);
        let dangling =
            fields.word("dangling", DANGLING, mistakes).unwrap_or(self.defaults.dangling);
        let nul = fields.word("nul", NUL, mistakes).unwrap_or(self.defaults.nul);
        let on_fail = fields.word("on_fail", ON_FAIL, mistakes).unwrap_or(self.defaults.on_fail);
        let uuid_order = fields.word("uuid_order", UUID_ORDER, mistakes);
        let parse_json = fields.boolean("json", mistakes).unwrap_or(false);
        let empty_is_null = fields.word("empty", EMPTY, mistakes).unwrap_or(false);
        let format = fields.string("format", mistakes).map(|format| format.value);
        let min = fields.number("min", mistakes);
        let max = fields.number("max", mistakes);
        let length = fields.get("length").and_then(|value| {
            if let DeValue::Integer(number) = value.get_ref() {
                number.as_str().parse().ok()
            } else {
                mistakes.add(value.span(), "`length` must be a whole number");
                None
            }
        });
        let pattern = fields.string("pattern", mistakes);
        if let Some(pattern) = &pattern
            && let Err(error) = regex::Regex::new(&pattern.value)
        {
            mistakes.add(pattern.span.clone(), format!("the pattern cannot be read: {error}"));
        }
        let default = fields.get("default");
        let fill = fields.get("fill");
        let null_elements = fields.word("null_elements", NULL_ELEMENTS, mistakes);
        let values_table = fields.table("values", mistakes);
        let pg_type = match (&type_text, &origin) {
            (Some(text), _) => self.pg_type(text),
            // A reference has the type of its target's key, which is a UUID unless it says so.
            (None, _) if reference.is_some() || parent => Some(PgType::Uuid),
            (None, Origin::Presence(_)) => Some(PgType::Text),
            (None, _) => {
                self.mistakes
                    .add(name.span.clone(), format!("column `{}` needs a `type`", name.value));
                None
            }
        };
        let values =
            values_table.map(|table| self.values(table, pg_type.as_ref())).unwrap_or_default();
        let default = default.and_then(|value| self.default_value(value, pg_type.as_ref()));
        let fill = fill.and_then(|value| self.fill(value, pg_type.as_ref()));
        fields.finish(&mut self.mistakes);
        let pg_type = pg_type?;
        if null_elements.is_some() && !matches!(pg_type, PgType::Array(_)) {
            self.mistakes
                .add(name.span.clone(), format!("`null_elements` does not apply to {pg_type}"));
        }
        let from_fields = matches!(origin, Origin::Paths(_) | Origin::Element | Origin::Parent);
        if fill.is_some() && (key.is_some() || reference.is_some() || !from_fields) {
            self.mistakes.add(
                name.span.clone(),
                "`fill` is for fields that are values: no key, no reference, nothing made up",
            );
        }
        let numbers = matches!(pg_type, PgType::SmallInt | PgType::Integer | PgType::BigInt);
        if identity && !numbers {
            self.mistakes.add(
                name.span.clone(),
                format!("an identity or serial key needs a whole number, not {pg_type}"),
            );
        }
        if parse_json && pg_type != PgType::Jsonb {
            self.mistakes.add(name.span.clone(), "`json = true` needs a jsonb column");
        }
        if matches!(origin, Origin::Presence(_)) && pg_type != PgType::Text {
            self.mistakes.add(name.span.clone(), "a column with `presence = true` must be text");
        }
        if origin == Origin::Rest && pg_type != PgType::Jsonb {
            self.mistakes.add(name.span.clone(), "a column with `from = \"*\"` must be jsonb");
        }
        if (min.is_some() || max.is_some())
            && !matches!(
                pg_type,
                PgType::SmallInt | PgType::Integer | PgType::BigInt | PgType::Real | PgType::Double
            )
        {
            self.mistakes
                .add(name.span.clone(), format!("`min` and `max` do not apply to {pg_type}"));
        }
        if let (Some(least), Some(greatest)) = (min, max)
            && least > greatest
        {
            self.mistakes.add(name.span.clone(), "`min` is greater than `max`");
        }
        if (pattern.is_some() || email) && !matches!(pg_type, PgType::Text | PgType::Varchar(_)) {
            self.mistakes
                .add(name.span.clone(), format!("`pattern` and `email` do not apply to {pg_type}"));
        }
        let wants = Wants { unique, index: index.unwrap_or(reference.is_some() && key.is_none()) };
        let column = Column {
            name: name.value.clone(),
            origin,
            pg_type,
            key,
            required: required || key.is_some(),
            optional,
            default,
            fill,
            null_elements: null_elements.unwrap_or_default(),
            references: None,
            dangling,
            values,
            pattern: pattern.map(|pattern| pattern.value),
            min,
            max,
            length,
            email,
            on_fail,
            nul,
            coerce,
            format,
            identity,
            parse_json,
            empty_is_null,
            uuid_order,
        };
        Some((ColumnDraft { name, reference, on_delete, on_update, deferrable }, column, wants))
    }

    /// The origin of a column that says whether its field is there.
    fn presence(&mut self, name: &Located<String>, origin: Origin, presence: bool) -> Origin {
        if !presence {
            return origin;
        }
        match origin {
            Origin::Paths(mut paths) if paths.len() == 1 => Origin::Presence(paths.remove(0)),
            other => {
                self.mistakes.add(name.span.clone(), "`presence = true` needs one field as `from`");
                other
            }
        }
    }

    pub(super) fn values(
        &mut self,
        table: &DeTable<'_>,
        pg_type: Option<&PgType>,
    ) -> Vec<(String, String)> {
        let mut result = Vec::new();
        for (key, value) in table {
            let Some(stored) = string(value, key.get_ref(), &mut self.mistakes) else { continue };
            if let Some(PgType::Enum(name)) = pg_type
                && let Some(labels) = self.enums.iter().find(|known| known.name == *name)
                && !labels.labels.contains(&stored.value)
            {
                let help = nearest(&stored.value, labels.labels.iter().map(String::as_str));
                self.mistakes.add_with_help(
                    stored.span.clone(),
                    format!("enum {name} has no label `{}`", stored.value),
                    help,
                );
            }
            result.push((key.get_ref().clone().into_owned(), stored.value));
        }
        result
    }

    pub(super) fn literal(&mut self, value: &Spanned<DeValue<'_>>) -> Option<Literal> {
        let literal = match value.get_ref() {
            DeValue::String(text) => Some(Literal::String(text.clone().into_owned())),
            DeValue::Integer(number) => number.as_str().parse().ok().map(Literal::Integer),
            DeValue::Float(number) => number.as_str().parse().ok().map(Literal::Float),
            DeValue::Boolean(flag) => Some(Literal::Boolean(*flag)),
            _ => None,
        };
        if literal.is_none() {
            self.mistakes.add(value.span(), "text, a number, true or false is expected");
        }
        literal
    }

    /// The value of `fill`.
    fn fill(&mut self, value: &Spanned<DeValue<'_>>, pg_type: Option<&PgType>) -> Option<Fill> {
        let pg_type = pg_type?;
        if let (DeValue::Array(items), PgType::Array(_)) = (value.get_ref(), pg_type)
            && items.is_empty()
        {
            return Some(Fill::EmptyArray);
        }
        let literal = self.literal(value)?;
        let whole = |number: i64| match pg_type {
            PgType::SmallInt => i16::try_from(number).is_ok(),
            PgType::Integer => i32::try_from(number).is_ok(),
            _ => true,
        };
        let known = |label: &String, name: &String| {
            let declared = self.enums.iter().find(|known| known.name == *name);
            declared.is_none_or(|known| known.labels.contains(label))
        };
        let fits = match (&literal, pg_type) {
            (Literal::Boolean(_), PgType::Boolean)
            | (Literal::Float(_), PgType::Real | PgType::Double | PgType::Numeric(_))
            | (Literal::String(_), PgType::Text | PgType::Varchar(_)) => true,
            (
                Literal::Integer(number),
                PgType::SmallInt
                | PgType::Integer
                | PgType::BigInt
                | PgType::Real
                | PgType::Double
                | PgType::Numeric(_),
            ) => whole(*number),
            (Literal::String(label), PgType::Enum(name)) => known(label, name),
            _ => false,
        };
        if !fits {
            self.mistakes.add_with_help(
                value.span(),
                format!("the value does not fill {pg_type}"),
                Some(
                    "`fill` takes text, a number, true or false that fits the type, a label of the \
                     enum, or [] for an array"
                        .to_owned(),
                ),
            );
            return None;
        }
        Some(Fill::Literal(literal))
    }

    pub(super) fn default_value(
        &mut self,
        value: &Spanned<DeValue<'_>>,
        pg_type: Option<&PgType>,
    ) -> Option<DefaultValue> {
        if let DeValue::Table(table) = value.get_ref() {
            let mut fields = Fields::new(table);
            let sql = fields.string("sql", &mut self.mistakes);
            fields.finish(&mut self.mistakes);
            if sql.is_none() {
                self.mistakes.add(value.span(), "an expression is written `{ sql = \"…\" }`");
            }
            return sql.map(|sql| DefaultValue::Sql(sql.value));
        }
        let literal = self.literal(value)?;
        let pg_type = pg_type?;
        let temporal = matches!(
            pg_type,
            PgType::Date | PgType::Time(_) | PgType::Timestamp(_) | PgType::Timestamptz(_)
        );
        match (&literal, pg_type) {
            (Literal::String(word), _) if word == "now" && temporal => {
                return Some(DefaultValue::Now);
            }
            (Literal::String(word), PgType::Uuid) if word == "uuid" => {
                return Some(DefaultValue::Uuid);
            }
            (Literal::String(label), PgType::Enum(name)) => {
                let known = self.enums.iter().find(|known| known.name == *name);
                if let Some(known) = known.filter(|known| !known.labels.contains(label)) {
                    let help = nearest(label, known.labels.iter().map(String::as_str));
                    self.mistakes.add_with_help(
                        value.span(),
                        format!("enum {name} has no label `{label}`"),
                        help,
                    );
                }
            }
            (Literal::String(_), _) => {}
            (Literal::Boolean(_), PgType::Boolean)
            | (Literal::Integer(_), PgType::SmallInt | PgType::Integer | PgType::BigInt)
            | (
                Literal::Integer(_) | Literal::Float(_),
                PgType::Real | PgType::Double | PgType::Numeric(_),
            ) => {}
            _ => self.mistakes.add(value.span(), format!("the default does not fit {pg_type}")),
        }
        Some(DefaultValue::Literal(literal))
    }
}
