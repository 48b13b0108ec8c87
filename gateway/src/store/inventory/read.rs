//! Reading: pages by key, so that the thousandth page costs what the first does.

use std::fmt;

use kantaloupe_gpu::inventory::Kind;
use sqlx::{QueryBuilder, Sqlite};

use super::{KINDS, Position, kind, number};
use crate::store::{Store, StoreError};

/// Sorts what has no value behind all that has one, in both directions. Further away than any figure, and exact as a float.
const BEYOND: f64 = 9.0e18;
/// The same for texts, ascending; descending it is the empty text.
const LAST_TEXT: &str = "\u{10ffff}";

/// A column that can be filtered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Column {
    Id,
    Node,
    Namespace,
    Name,
    Vendor,
    Model,
    Mode,
    State,
    Code,
    Workload,
    Gpu,
    Healthy,
    Cordoned,
    Stale,
    Held,
    Search,
}

impl Column {
    const fn name(self) -> &'static str {
        match self {
            Self::Id => "r.id",
            Self::Node => "r.node",
            Self::Namespace => "r.namespace",
            Self::Name => "r.name",
            Self::Vendor => "r.vendor",
            Self::Model => "r.model",
            Self::Mode => "r.mode",
            Self::State => "r.state",
            Self::Code => "r.code",
            Self::Workload => "r.workload",
            Self::Gpu => "r.gpu",
            Self::Healthy => "r.healthy",
            Self::Cordoned => "r.cordoned",
            Self::Stale => "r.stale",
            Self::Held => "r.held",
            Self::Search => "r.search",
        }
    }
}

/// What a column has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Test {
    /// One of these texts.
    In(Vec<String>),
    /// A list between commas that has one of these.
    Listed(Vec<String>),
    /// A text of several parts between slashes that ends in one of these.
    Ends(Vec<String>),
    /// This flag.
    Is(bool),
    /// Not known.
    Unknown,
    /// A text that has this in it, whatever the case of ASCII letters.
    Contains(String),
}

/// What to sort by; the key follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SortBy {
    /// Cluster and id, in the order in which rows are kept.
    Key,
    /// A text expression over `r`.
    Text(&'static str),
    /// A number expression over `r`.
    Number(&'static str),
}

/// An order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sort {
    /// As the caller wrote it, without the direction.
    pub(crate) name: &'static str,
    pub(crate) by: SortBy,
    pub(crate) descending: bool,
}

/// Which records, and how many of them.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    pub(crate) kind: Kind,
    /// Ids; all clusters if not given.
    pub(crate) clusters: Option<Vec<String>>,
    /// Clusters of which not everything is shown.
    pub(crate) narrowed: Vec<Narrowed>,
    pub(crate) tests: Vec<(Column, Test)>,
    pub(crate) sort: Sort,
    pub(crate) after: Option<Position>,
    pub(crate) limit: u32,
}

/// A cluster of which the records of some namespaces are shown, and of those that belong to none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Narrowed {
    pub(crate) cluster_id: String,
    pub(crate) namespaces: Vec<String>,
}

/// Whether records of a kind belong to namespaces. Findings do: those without one may name what is in any.
pub(crate) const fn is_of_namespace(kind: Kind) -> bool {
    match kind {
        Kind::Allocation | Kind::Workload | Kind::Finding | Kind::ContainerUsage => true,
        Kind::Cluster | Kind::Node | Kind::Gpu | Kind::GpuUsage | Kind::Check => false,
    }
}

/// A record as kept.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub(crate) struct Item {
    pub(crate) cluster_id: String,
    pub(crate) id: String,
    /// The record as JSON.
    pub(crate) value: String,
    /// The record of live use that belongs to it.
    pub(crate) usage: Option<String>,
    sort_text: Option<String>,
    sort_number: Option<f64>,
}

/// A page.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Page {
    pub(crate) items: Vec<Item>,
    /// Where the next one starts, if there is more.
    pub(crate) next: Option<Position>,
}

/// Records of one kind of one cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KindCount {
    pub(crate) kind: Kind,
    pub(crate) records: i64,
    pub(crate) bytes: i64,
}

impl Sort {
    /// The order that costs nothing.
    pub(crate) const KEY: Self = Self {
        name: "key",
        by: SortBy::Key,
        descending: false,
    };

    const fn direction(self) -> &'static str {
        if self.descending { " DESC" } else { " ASC" }
    }

    /// The expression of the sort's own value; `None` if it has none.
    fn push_value(self, sql: &mut QueryBuilder<Sqlite>) {
        match self.by {
            SortBy::Key => {}
            SortBy::Text(expression) => {
                sql.push("coalesce(").push(expression).push(", ");
                sql.push_bind(if self.descending { "" } else { LAST_TEXT })
                    .push(")");
            }
            SortBy::Number(expression) => {
                sql.push("coalesce(CAST(").push(expression).push(" AS REAL), ");
                sql.push_bind(if self.descending { -BEYOND } else { BEYOND })
                    .push(")");
            }
        }
    }

    fn push_order(self, sql: &mut QueryBuilder<Sqlite>, table: &str) {
        let direction = self.direction();
        sql.push(" ORDER BY ");
        match self.by {
            SortBy::Key => {}
            SortBy::Text(_) => {
                sql.push("sort_text").push(direction).push(", ");
            }
            SortBy::Number(_) => {
                sql.push("sort_number").push(direction).push(", ");
            }
        }
        sql.push(table).push(".cluster_id").push(direction);
        sql.push(", ").push(table).push(".id").push(direction);
    }
}

impl fmt::Display for Sort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.descending { "-" } else { "" };
        write!(f, "{sign}{}", self.name)
    }
}

impl Query {
    fn push_from(&self, sql: &mut QueryBuilder<Sqlite>) {
        sql.push(" FROM inventory_records r WHERE r.kind = ")
            .push_bind(number(self.kind));
        if let Some(clusters) = &self.clusters {
            push_in(sql, "r.cluster_id", clusters);
        }
        if is_of_namespace(self.kind) && !self.narrowed.is_empty() {
            self.push_narrowed(sql);
        }
        for (column, test) in &self.tests {
            match test {
                Test::In(values) => push_in(sql, column.name(), values),
                Test::Listed(values) => {
                    sql.push(" AND (1 = 0");
                    for value in values {
                        sql.push(" OR ").push(column.name()).push(" LIKE ");
                        sql.push_bind(format!("%,{},%", escaped(value)))
                            .push(" ESCAPE '\\'");
                    }
                    sql.push(")");
                }
                Test::Ends(values) => {
                    sql.push(" AND (1 = 0");
                    for value in values {
                        sql.push(" OR ").push(column.name()).push(" LIKE ");
                        sql.push_bind(format!("%/{}", escaped(value)))
                            .push(" ESCAPE '\\'");
                    }
                    sql.push(")");
                }
                Test::Is(flag) => {
                    sql.push(" AND ")
                        .push(column.name())
                        .push(" = ")
                        .push_bind(i64::from(*flag));
                }
                Test::Unknown => {
                    sql.push(" AND ").push(column.name()).push(" IS NULL");
                }
                Test::Contains(part) => {
                    sql.push(" AND lower(").push(column.name()).push(") LIKE ");
                    sql.push_bind(format!("%{}%", escaped(&part.to_ascii_lowercase())))
                        .push(" ESCAPE '\\'");
                }
            }
        }
    }

    fn push_narrowed(&self, sql: &mut QueryBuilder<Sqlite>) {
        sql.push(" AND (r.cluster_id NOT IN (");
        let mut list = sql.separated(", ");
        for narrowed in &self.narrowed {
            list.push_bind(&narrowed.cluster_id);
        }
        sql.push(")");
        for narrowed in &self.narrowed {
            sql.push(" OR (r.cluster_id = ").push_bind(&narrowed.cluster_id);
            push_in(sql, "r.namespace", &narrowed.namespaces);
            sql.push(")");
        }
        sql.push(")");
    }

    fn push_after(&self, sql: &mut QueryBuilder<Sqlite>, after: &Position) {
        sql.push(" AND (");
        if self.sort.by != SortBy::Key {
            self.sort.push_value(sql);
            sql.push(", ");
        }
        sql.push("r.cluster_id, r.id) ")
            .push(if self.sort.descending { "<" } else { ">" })
            .push(" (");
        match self.sort.by {
            SortBy::Key => {}
            SortBy::Text(_) => {
                sql.push_bind(after.text.as_deref().unwrap_or_default())
                    .push(", ");
            }
            SortBy::Number(_) => {
                sql.push_bind(f64::from_bits(after.bits.unwrap_or_default()))
                    .push(", ");
            }
        }
        sql.push_bind(&after.cluster_id)
            .push(", ")
            .push_bind(&after.id)
            .push(")");
    }

    /// The page alone first, from the narrow table; then the values of its rows.
    fn page(&self) -> QueryBuilder<Sqlite> {
        let mut sql = QueryBuilder::new(
            "SELECT p.cluster_id, p.id, v.value, u.value AS usage, p.sort_text, p.sort_number \
             FROM (SELECT r.cluster_id, r.id, r.usage_id, ",
        );
        match self.sort.by {
            SortBy::Key => {
                sql.push("CAST(NULL AS TEXT) AS sort_text, CAST(NULL AS REAL) AS sort_number");
            }
            SortBy::Text(_) => {
                self.sort.push_value(&mut sql);
                sql.push(" AS sort_text, CAST(NULL AS REAL) AS sort_number");
            }
            SortBy::Number(_) => {
                sql.push("CAST(NULL AS TEXT) AS sort_text, ");
                self.sort.push_value(&mut sql);
                sql.push(" AS sort_number");
            }
        }
        self.push_from(&mut sql);
        if let Some(after) = &self.after {
            self.push_after(&mut sql, after);
        }
        self.sort.push_order(&mut sql, "r");
        sql.push(" LIMIT ").push_bind(i64::from(self.limit) + 1);
        sql.push(") p JOIN inventory_values v ON v.kind = ")
            .push_bind(number(self.kind));
        sql.push(" AND v.cluster_id = p.cluster_id AND v.id = p.id");
        sql.push(" LEFT JOIN inventory_values u ON u.kind = ")
            .push_bind(usage_of(self.kind));
        sql.push(" AND u.cluster_id = p.cluster_id AND u.id = p.usage_id");
        self.sort.push_order(&mut sql, "p");
        sql
    }
}

/// The kind of the records of live use that belong to a kind; one that there is none of for the others.
const fn usage_of(kind: Kind) -> i64 {
    match kind {
        Kind::Gpu => number(Kind::GpuUsage),
        Kind::Allocation => number(Kind::ContainerUsage),
        _ => 0,
    }
}

fn push_in(sql: &mut QueryBuilder<Sqlite>, column: &str, values: &[String]) {
    if values.is_empty() {
        sql.push(" AND 1 = 0");
        return;
    }
    sql.push(" AND ").push(column).push(" IN (");
    let mut list = sql.separated(", ");
    for value in values {
        list.push_bind(value);
    }
    sql.push(")");
}

/// A text as a part of a LIKE pattern that stands for itself.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '%' | '_' | '\\') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

impl Store {
    /// A page of records.
    pub(crate) async fn inventory_page(&self, query: &Query) -> Result<Page, StoreError> {
        let mut items: Vec<Item> = query.page().build_query_as().fetch_all(&self.readers).await?;
        let limit = usize::try_from(query.limit).unwrap_or(usize::MAX);
        let next = (items.len() > limit).then(|| {
            items.truncate(limit);
            items.last().map(|last| Position {
                sort: query.sort.to_string(),
                text: last.sort_text.clone(),
                bits: last.sort_number.map(f64::to_bits),
                cluster_id: last.cluster_id.clone(),
                id: last.id.clone(),
            })
        });
        Ok(Page {
            items,
            next: next.flatten(),
        })
    }

    /// How many records a query has without its page, or `None` if there are more than `most`.
    pub(crate) async fn inventory_total(&self, query: &Query, most: i64) -> Result<Option<i64>, StoreError> {
        let mut sql = QueryBuilder::new("SELECT count(*) FROM (SELECT 1");
        query.push_from(&mut sql);
        sql.push(" LIMIT ").push_bind(most + 1).push(") p");
        let total: i64 = sql.build_query_scalar().fetch_one(&self.readers).await?;
        Ok((total <= most).then_some(total))
    }

    /// One record's JSON.
    pub(crate) async fn inventory_value(
        &self,
        cluster_id: &str,
        kind: Kind,
        id: &str,
    ) -> Result<Option<String>, StoreError> {
        let value = sqlx::query_scalar(
            "SELECT value FROM inventory_values WHERE kind = ? AND cluster_id = ? AND id = ?",
        )
        .bind(number(kind))
        .bind(cluster_id)
        .bind(id)
        .fetch_optional(&self.readers)
        .await?;
        Ok(value)
    }

    /// Name, `ready` and whether it is cordoned, of all nodes of a cluster.
    pub(crate) async fn inventory_nodes(
        &self,
        cluster_id: &str,
    ) -> Result<Vec<(String, Option<bool>, Option<bool>)>, StoreError> {
        let sql = "SELECT id, healthy, cordoned FROM inventory_records WHERE kind = ? AND cluster_id = ?";
        let rows: Vec<(String, Option<i64>, Option<i64>)> = sqlx::query_as(sql)
            .bind(number(Kind::Node))
            .bind(cluster_id)
            .fetch_all(&self.readers)
            .await?;
        let flag = |value: Option<i64>| value.map(|value| value != 0);
        let nodes = rows
            .into_iter()
            .map(|(id, ready, cordoned)| (id, flag(ready), flag(cordoned)));
        Ok(nodes.collect())
    }

    /// What is kept of one cluster.
    pub(crate) async fn inventory_counts(&self, cluster_id: &str) -> Result<Vec<KindCount>, StoreError> {
        let mut sql = QueryBuilder::<Sqlite>::new(
            "SELECT kind, count(*), coalesce(sum(size), 0) FROM inventory_records WHERE kind IN (",
        );
        let mut list = sql.separated(", ");
        for kind in KINDS {
            list.push_bind(number(kind));
        }
        sql.push(") AND cluster_id = ")
            .push_bind(cluster_id)
            .push(" GROUP BY kind");
        let rows: Vec<(i64, i64, i64)> = sql.build_query_as().fetch_all(&self.readers).await?;
        Ok(counts(&rows))
    }

    /// What is kept of all clusters.
    pub(crate) async fn inventory_totals(&self) -> Result<Vec<KindCount>, StoreError> {
        let rows: Vec<(i64, i64, i64)> = sqlx::query_as(
            "SELECT kind, count(*), coalesce(sum(size), 0) FROM inventory_records GROUP BY kind",
        )
        .fetch_all(&self.readers)
        .await?;
        Ok(counts(&rows))
    }
}

fn counts(rows: &[(i64, i64, i64)]) -> Vec<KindCount> {
    rows.iter()
        .filter_map(|(number, records, bytes)| {
            Some(KindCount {
                kind: kind(*number)?,
                records: *records,
                bytes: *bytes,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_stand_for_themselves() {
        assert_eq!(escaped(r"50%_\a"), r"50\%\_\\a");
    }

    #[test]
    fn kinds_have_numbers_of_their_own() {
        for kind in KINDS {
            assert_eq!(super::kind(number(kind)), Some(kind));
        }
        assert_eq!(kind(0), None);
    }
}
