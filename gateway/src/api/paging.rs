//! Pages of lists that are in memory: `limit` and `cursor`, as the inventory's lists have them. Without `limit` a list is whole.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::inventory::Params;
use crate::problem::ApiError;

/// Records of a page at most.
const MAX_LIMIT: u32 = 1000;

/// What part of a list is asked for.
#[derive(Debug)]
pub(super) struct Paging {
    limit: Option<usize>,
    /// Key of the last record of the page before.
    after: Option<String>,
}

impl Paging {
    /// Reads a query that has nothing else.
    pub(super) fn read(query: Option<&str>) -> Result<Self, ApiError> {
        let mut params = Params::read(query)?;
        let limit = params.take_number("limit")?;
        let after = match params.take("cursor")? {
            None => None,
            Some(text) => {
                let key = URL_SAFE_NO_PAD.decode(&text).ok();
                let key = key.and_then(|bytes| String::from_utf8(bytes).ok());
                Some(key.ok_or_else(|| ApiError::invalid("cursor is none of this list"))?)
            }
        };
        params.finish("limit, cursor")?;
        let limit = limit.map(|limit| limit.clamp(1, MAX_LIMIT) as usize);
        Ok(Self { limit, after })
    }

    /// The page, and the cursor of the next one if there is more. `key` orders the list; no two records have the same.
    pub(super) fn page<T>(
        &self,
        items: impl IntoIterator<Item = T>,
        key: impl Fn(&T) -> String,
    ) -> (Vec<T>, Option<String>) {
        let items = items.into_iter();
        if self.limit.is_none() && self.after.is_none() {
            return (items.collect(), None);
        }
        let mut keyed: Vec<_> = items
            .map(|item| (key(&item), item))
            .filter(|(key, _)| self.after.as_ref().is_none_or(|after| key > after))
            .collect();
        keyed.sort_by(|(a, _), (b, _)| a.cmp(b));
        let limit = self.limit.unwrap_or(usize::MAX);
        let more = keyed.len() > limit;
        keyed.truncate(limit);
        let last = keyed
            .last()
            .filter(|_| more)
            .map(|(key, _)| URL_SAFE_NO_PAD.encode(key));
        (keyed.into_iter().map(|(_, item)| item).collect(), last)
    }
}

/// A key of what is ordered by time.
pub(super) fn by_time(created_at: i64, id: &str) -> String {
    format!("{created_at:020} {id}")
}
