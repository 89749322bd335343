//! Reading a TOML table key by key, so that each mistake is found and none is found twice.

use std::collections::HashSet;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::Mistake;

/// Something of the file, with its place.
#[derive(Clone, Debug)]
pub(super) struct Located<T> {
    pub(super) span: Range<usize>,
    pub(super) value: T,
}

/// The mistakes found so far.
#[derive(Debug, Default)]
pub(super) struct Mistakes(pub(super) Vec<Mistake>);

impl Mistakes {
    pub(super) fn add(&mut self, span: Range<usize>, message: impl Into<String>) {
        self.0.push(Mistake { span, message: message.into(), help: None });
    }

    pub(super) fn add_with_help(
        &mut self,
        span: Range<usize>,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        self.0.push(Mistake { span, message: message.into(), help });
    }

    /// A name that does not exist, with the nearest one that does.
    pub(super) fn unknown<'a>(
        &mut self,
        what: &str,
        name: &Located<String>,
        valid: impl Iterator<Item = &'a str>,
    ) {
        let help = nearest(&name.value, valid);
        self.add_with_help(name.span.clone(), format!("there is no {what} `{}`", name.value), help);
    }
}

/// `did you mean …`, when some name is near.
pub(super) fn nearest<'a>(name: &str, valid: impl Iterator<Item = &'a str>) -> Option<String> {
    nearest_name(name, valid).map(|candidate| format!("did you mean `{candidate}`?"))
}

/// The name that was probably meant, when one is near.
pub(crate) fn nearest_name<'a>(
    name: &str,
    valid: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    let close = valid
        .map(|candidate| {
            (strsim::jaro_winkler(&name.to_lowercase(), &candidate.to_lowercase()), candidate)
        })
        .max_by(|left, right| left.0.total_cmp(&right.0));
    close.filter(|(score, _)| *score > 0.7).map(|(_, candidate)| candidate)
}

/// A table being read.
pub(super) struct Fields<'t, 'i> {
    table: &'t DeTable<'i>,
    read: HashSet<&'static str>,
}

impl<'t, 'i> Fields<'t, 'i> {
    pub(super) fn new(table: &'t DeTable<'i>) -> Self {
        Self { table, read: HashSet::new() }
    }

    pub(super) fn get(&mut self, key: &'static str) -> Option<&'t Spanned<DeValue<'i>>> {
        self.read.insert(key);
        self.table.iter().find(|(name, _)| name.get_ref() == key).map(|(_, value)| value)
    }

    pub(super) fn string(
        &mut self,
        key: &'static str,
        mistakes: &mut Mistakes,
    ) -> Option<Located<String>> {
        string(self.get(key)?, key, mistakes)
    }

    pub(super) fn boolean(&mut self, key: &'static str, mistakes: &mut Mistakes) -> Option<bool> {
        let value = self.get(key)?;
        if let DeValue::Boolean(flag) = value.get_ref() {
            Some(*flag)
        } else {
            mistakes.add(value.span(), format!("`{key}` must be true or false"));
            None
        }
    }

    pub(super) fn number(&mut self, key: &'static str, mistakes: &mut Mistakes) -> Option<f64> {
        let value = self.get(key)?;
        let number = match value.get_ref() {
            DeValue::Integer(number) => number.as_str().parse().ok(),
            DeValue::Float(number) => number.as_str().parse().ok(),
            _ => None,
        };
        if number.is_none() {
            mistakes.add(value.span(), format!("`{key}` must be a number"));
        }
        number
    }

    pub(super) fn strings(
        &mut self,
        key: &'static str,
        mistakes: &mut Mistakes,
    ) -> Vec<Located<String>> {
        let Some(value) = self.get(key) else { return Vec::new() };
        strings(value, key, mistakes)
    }

    pub(super) fn table(
        &mut self,
        key: &'static str,
        mistakes: &mut Mistakes,
    ) -> Option<&'t DeTable<'i>> {
        let value = self.get(key)?;
        if let DeValue::Table(table) = value.get_ref() {
            Some(table)
        } else {
            mistakes.add(value.span(), format!("`{key}` must be a table"));
            None
        }
    }

    /// The tables of an array of tables.
    pub(super) fn tables(
        &mut self,
        key: &'static str,
        mistakes: &mut Mistakes,
    ) -> Vec<Located<&'t DeTable<'i>>> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let DeValue::Array(items) = value.get_ref() else {
            mistakes.add(value.span(), format!("`{key}` must be an array of tables: `[[…{key}]]`"));
            return Vec::new();
        };
        let mut result = Vec::new();
        for item in items {
            match item.get_ref() {
                DeValue::Table(table) => result.push(Located { span: item.span(), value: table }),
                _ => mistakes.add(item.span(), format!("`{key}` must hold tables")),
            }
        }
        result
    }

    /// One of several words.
    pub(super) fn word<T: Copy>(
        &mut self,
        key: &'static str,
        words: &[(&'static str, T)],
        mistakes: &mut Mistakes,
    ) -> Option<T> {
        let text = self.string(key, mistakes)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text.value) {
            Some(*value)
        } else {
            let list: Vec<_> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
            mistakes.add_with_help(
                text.span,
                format!("`{key}` must be one of {}", list.join(", ")),
                nearest(&text.value, words.iter().map(|(word, _)| *word)),
            );
            None
        }
    }

    /// Reports the keys that nobody asked for.
    pub(super) fn finish(self, mistakes: &mut Mistakes) {
        #[cfg(test)]
        READ.with_borrow_mut(|all| all.push(self.read.clone()));
        for (name, _) in self.table {
            if !self.read.contains(name.get_ref().as_ref()) {
                let help = nearest(name.get_ref(), self.read.iter().copied());
                mistakes.add_with_help(
                    name.span(),
                    format!("there is no key `{}` here", name.get_ref()),
                    help,
                );
            }
        }
    }
}

#[cfg(test)]
thread_local! {
    static READ: std::cell::RefCell<Vec<HashSet<&'static str>>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// The keys that were asked for meanwhile, table by table.
#[cfg(test)]
pub(super) fn read_keys(work: impl FnOnce()) -> Vec<HashSet<&'static str>> {
    READ.take();
    work();
    READ.take()
}

pub(super) fn string(
    value: &Spanned<DeValue<'_>>,
    key: &str,
    mistakes: &mut Mistakes,
) -> Option<Located<String>> {
    if let DeValue::String(text) = value.get_ref() {
        Some(Located { span: value.span(), value: text.clone().into_owned() })
    } else {
        mistakes.add(value.span(), format!("`{key}` must be text"));
        None
    }
}

pub(super) fn strings(
    value: &Spanned<DeValue<'_>>,
    key: &str,
    mistakes: &mut Mistakes,
) -> Vec<Located<String>> {
    if let DeValue::Array(items) = value.get_ref() {
        items.iter().filter_map(|item| string(item, key, mistakes)).collect()
    } else {
        mistakes.add(value.span(), format!("`{key}` must be a list of texts"));
        Vec::new()
    }
}
