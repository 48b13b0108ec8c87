//! What a query asks for, checked: a name that is not known is an error, so that a misspelt filter is noticed and does not show
//! everything.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use kantaloupe_gpu::inventory::Kind;

use super::fields::{self, How};
use crate::{
    api::visible::Visible,
    problem::ApiError,
    store::inventory::{Column, Position, Query, Sort, Test},
};

/// Records of a page unless said otherwise, and at most.
pub(super) const LIMIT: u32 = 100;
pub(super) const MAX_LIMIT: u32 = 1000;
/// Values of one filter.
const MAX_VALUES: usize = 200;
/// Characters of one value.
const MAX_VALUE: usize = 256;
/// Characters of a cursor: a key, a sort's value, and base64.
const MAX_CURSOR: usize = 4096;

/// The pairs of a query string.
#[derive(Debug)]
pub(in crate::api) struct Params(Vec<(String, String)>);

/// What a list is asked for.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) query: Query,
    /// Whether the query says how many records it wants.
    pub(super) limited: bool,
    /// `format`, if it is there.
    pub(super) format: Option<String>,
}

impl Params {
    /// Reads a query string.
    pub(in crate::api) fn read(query: Option<&str>) -> Result<Self, ApiError> {
        let pairs = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        let params = Self(pairs.into_owned().collect());
        match params
            .0
            .iter()
            .find(|(_, value)| value.len() > MAX_CURSOR || value.chars().any(char::is_control))
        {
            Some((name, _)) => Err(ApiError::invalid(format!(
                "The value of {name:?} is too long or has control characters"
            ))),
            None => Ok(params),
        }
    }

    /// Takes one value out; `None` if the name is not there or has no value.
    pub(in crate::api) fn take(&mut self, name: &str) -> Result<Option<String>, ApiError> {
        let mut values = self.take_all(name)?;
        if values.len() > 1 {
            return Err(ApiError::invalid(format!("{name:?} is there more than once")));
        }
        Ok(values.pop())
    }

    /// Takes all values of a name out: it may be there several times.
    fn take_all(&mut self, name: &str) -> Result<Vec<String>, ApiError> {
        let (taken, rest) = std::mem::take(&mut self.0)
            .into_iter()
            .partition(|(of, _)| of == name);
        self.0 = rest;
        let values: Vec<String> = taken
            .into_iter()
            .map(|(_, value)| value)
            .filter(|value| !value.is_empty())
            .collect();
        if values.len() > MAX_VALUES {
            return Err(ApiError::invalid(format!(
                "{name:?} has more than {MAX_VALUES} values"
            )));
        }
        Ok(values)
    }

    /// Takes all values of a name out, also those between commas.
    pub(super) fn take_list(&mut self, name: &str) -> Result<Vec<String>, ApiError> {
        let values: Vec<String> = self
            .take_all(name)?
            .iter()
            .flat_map(|value| value.split(','))
            .filter(|value| !value.is_empty())
            .map(str::to_owned)
            .collect();
        if values.len() > MAX_VALUES || values.iter().any(|value| value.len() > MAX_VALUE) {
            return Err(ApiError::invalid(format!(
                "{name:?} has more than {MAX_VALUES} values, or one of more than {MAX_VALUE} bytes"
            )));
        }
        Ok(values)
    }

    /// Takes a number out.
    pub(in crate::api) fn take_number(&mut self, name: &str) -> Result<Option<u32>, ApiError> {
        let Some(text) = self.take(name)? else {
            return Ok(None);
        };
        text.parse()
            .map(Some)
            .map_err(|_| ApiError::invalid(format!("{name:?} is {text:?} and not a number")))
    }

    /// Takes the clusters out that `cluster` names by id or name, of those that the caller can see; all of these if it names none.
    pub(super) fn take_clusters(&mut self, visible: Visible) -> Result<Visible, ApiError> {
        visible.only(&self.take_list("cluster")?)
    }

    /// Everything has been taken out.
    pub(in crate::api) fn finish(self, allowed: &str) -> Result<(), ApiError> {
        match self.0.first() {
            Some((name, _)) => Err(ApiError::invalid(format!(
                "There is no parameter {name:?} here; there are {allowed}"
            ))),
            None => Ok(()),
        }
    }

    /// What a list of this kind is asked for. The clusters have been taken out.
    pub(super) fn wanted(mut self, kind: Kind, visible: &Visible) -> Result<Wanted, ApiError> {
        let mut tests = Vec::new();
        for (name, column, how) in fields::filters(kind) {
            tests.extend(self.test(name, *how)?.map(|test| (*column, test)));
        }
        if let Some(text) = self.take("text")? {
            tests.push((Column::Search, Test::Contains(text)));
        }
        let limit = self.take_number("limit")?;
        if limit.is_some_and(|limit| !(1..=MAX_LIMIT).contains(&limit)) {
            return Err(ApiError::invalid(format!(
                "limit is not between 1 and {MAX_LIMIT}"
            )));
        }
        let sort = sort(kind, self.take("sort")?.as_deref())?;
        let after = self
            .take("cursor")?
            .map(|text| position(&text, sort))
            .transpose()?;
        let format = self.take("format")?;
        self.finish(&fields::names(kind))?;
        Ok(Wanted {
            query: Query {
                kind,
                clusters: visible.ids(),
                narrowed: visible.narrowed(),
                tests,
                sort,
                after,
                limit: limit.unwrap_or(LIMIT),
            },
            limited: limit.is_some(),
            format,
        })
    }

    fn test(&mut self, name: &str, how: How) -> Result<Option<Test>, ApiError> {
        Ok(match how {
            How::Contains => self.take(name)?.map(Test::Contains),
            How::Flag | How::Not => match self.take(name)?.as_deref() {
                None => None,
                Some("unknown") if how == How::Flag => Some(Test::Unknown),
                Some(word @ ("true" | "false")) => Some(Test::Is((word == "true") == (how == How::Flag))),
                Some(other) => {
                    return Err(ApiError::invalid(format!(
                        "{name:?} is {other:?} and none of true, false, unknown"
                    )));
                }
            },
            How::In | How::Listed | How::Owner => {
                let values = self.take_list(name)?;
                if values.is_empty() {
                    None
                } else if how == How::Listed {
                    Some(Test::Listed(values))
                } else if how == How::Owner && values.iter().all(|value| !value.contains('/')) {
                    Some(Test::Ends(values))
                } else {
                    Some(Test::In(values))
                }
            }
        })
    }
}

fn sort(kind: Kind, text: Option<&str>) -> Result<Sort, ApiError> {
    let sorts = fields::sorts(kind);
    let Some(text) = text else {
        return Ok(sorts[0]);
    };
    let (name, descending) = text.strip_prefix('-').map_or((text, false), |name| (name, true));
    let found = sorts.iter().find(|sort| sort.name == name);
    let found = found.ok_or_else(|| {
        let names: Vec<_> = sorts.iter().map(|sort| sort.name).collect();
        ApiError::invalid(format!(
            "One cannot sort by {name:?} here, but by {} (with - before it, the other way round)",
            names.join(", ")
        ))
    })?;
    Ok(Sort { descending, ..*found })
}

/// Reads a cursor that belongs to this sort.
fn position(text: &str, sort: Sort) -> Result<Position, ApiError> {
    let decoded = URL_SAFE_NO_PAD.decode(text).ok();
    let position: Option<Position> = decoded.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    position
        .filter(|position| position.sort == sort.to_string())
        .ok_or_else(|| ApiError::invalid("cursor is none of this list and sort"))
}

/// Writes a cursor.
pub(super) fn cursor(position: &Position) -> String {
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(position).expect("texts and numbers always serialize"))
}
