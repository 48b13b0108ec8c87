//! Organisations, users and bindings in memory. Made anew from all rows at every change; no I/O.

use std::{collections::HashMap, sync::Arc};

use kantaloupe_policy::Namespaces;

use super::selector::{Labels, Selector};
use crate::store::people::{BindingRow, ImpersonatorRow, OrganizationRow, PeopleRows, UserRow};

/// What a binding gives. The first three are also roles at a cluster's API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Role {
    /// Reads who did what and who may what; nothing at an API server.
    Auditor,
    Viewer,
    Operator,
    Admin,
}

impl Role {
    pub(crate) const ALL: [Self; 4] = [Self::Viewer, Self::Operator, Self::Admin, Self::Auditor];

    /// The word in JSON and the database.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Auditor => "auditor",
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// The role of that word.
    pub(crate) fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == word)
    }

    /// The role at API servers.
    pub(crate) const fn at_api_servers(self) -> Option<kantaloupe_policy::Role> {
        match self {
            Self::Auditor => None,
            Self::Viewer => Some(kantaloupe_policy::Role::Viewer),
            Self::Operator => Some(kantaloupe_policy::Role::Operator),
            Self::Admin => Some(kantaloupe_policy::Role::Admin),
        }
    }
}

/// Who has the rights of a binding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// By id.
    User(String),
    /// By name, as a login brings it.
    Group(String),
}

/// Where the rights of a binding are for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Organization,
    /// By id.
    Cluster(String),
    Selector(Selector),
}

/// A binding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Binding {
    pub(crate) id: String,
    pub(crate) organization_id: String,
    pub(crate) subject: Subject,
    pub(crate) role: Role,
    pub(crate) place: Place,
    pub(crate) namespaces: Namespaces,
    pub(crate) created_at: i64,
}

/// A user.
#[derive(Clone, Debug)]
pub(crate) struct User {
    pub(crate) id: String,
    pub(crate) organization_id: String,
    pub(crate) name: String,
    /// Not a person.
    pub(crate) is_service: bool,
    pub(crate) display_name: String,
    pub(crate) groups: Vec<String>,
    pub(crate) created_at: i64,
    pub(crate) disabled_at: Option<i64>,
}

/// Everything about people, at one moment.
#[derive(Debug, Default)]
pub(crate) struct People {
    /// Grows with every change.
    pub(crate) generation: u64,
    organizations: HashMap<String, OrganizationRow>,
    users: HashMap<String, User>,
    /// By organisation and name in lower case.
    user_ids: HashMap<(String, String), String>,
    bindings: Vec<Arc<Binding>>,
    of_user: HashMap<String, Vec<Arc<Binding>>>,
    /// By organisation and group.
    of_group: HashMap<String, HashMap<String, Vec<Arc<Binding>>>>,
    impersonators: Vec<ImpersonatorRow>,
    /// Of clusters by id, each with its organisation.
    labels: HashMap<String, (String, Labels)>,
}

impl People {
    /// What the rows say. A row that says something else than was ever written is left out and named in the log: nobody
    /// gets a right from it.
    pub(crate) fn new(rows: PeopleRows, generation: u64) -> Self {
        let mut people = Self {
            generation,
            organizations: by_id(rows.organizations, |row| row.id.clone()),
            impersonators: rows.impersonators,
            ..Self::default()
        };
        for row in rows.users {
            people.user_ids.insert(
                (row.organization_id.clone(), row.name.to_ascii_lowercase()),
                row.id.clone(),
            );
            people.users.insert(row.id.clone(), User::of(row));
        }
        for row in rows.bindings {
            let id = row.id.clone();
            if let Some(binding) = Binding::of(row) {
                people.bind(Arc::new(binding));
            } else {
                tracing::error!(binding = %id, "a binding cannot be read and gives no right");
            }
        }
        for row in rows.labels {
            if let Ok(labels) = serde_json::from_str(&row.labels) {
                people.labels.insert(row.id, (row.organization_id, labels));
            } else {
                tracing::error!(cluster = %row.id, "labels cannot be read");
            }
        }
        people
    }

    fn bind(&mut self, binding: Arc<Binding>) {
        let list = match &binding.subject {
            Subject::User(id) => self.of_user.entry(id.clone()).or_default(),
            Subject::Group(name) => self
                .of_group
                .entry(binding.organization_id.clone())
                .or_default()
                .entry(name.clone())
                .or_default(),
        };
        list.push(Arc::clone(&binding));
        self.bindings.push(binding);
    }

    /// An organisation by id.
    pub(crate) fn organization(&self, id: &str) -> Option<&OrganizationRow> {
        self.organizations.get(id)
    }

    /// An organisation by name.
    pub(crate) fn organization_named(&self, name: &str) -> Option<&OrganizationRow> {
        self.organizations.values().find(|row| row.name == name)
    }

    pub(super) fn all_users(&self) -> impl Iterator<Item = &User> {
        self.users.values()
    }

    /// How many organisations there are.
    pub(crate) fn organizations(&self) -> usize {
        self.organizations.len()
    }

    /// A user by id, also a disabled one.
    pub(crate) fn user(&self, id: &str) -> Option<&User> {
        self.users.get(id)
    }

    /// A user by id who may do anything at all.
    pub(crate) fn enabled_user(&self, id: &str) -> Option<&User> {
        self.user(id).filter(|user| user.disabled_at.is_none())
    }

    /// A user of an organisation by name as written. Also a disabled one.
    pub(crate) fn user_named(&self, organization_id: &str, name: &str) -> Option<&User> {
        self.user_like(organization_id, name)
            .filter(|user| user.name == name)
    }

    /// A user of an organisation whose name is this one or differs in case only.
    pub(crate) fn user_like(&self, organization_id: &str, name: &str) -> Option<&User> {
        let key = (organization_id.to_owned(), name.to_ascii_lowercase());
        self.user(self.user_ids.get(&key)?)
    }

    /// A user of an organisation by id or name.
    pub(crate) fn find_user(&self, organization_id: &str, id_or_name: &str) -> Option<&User> {
        self.user(id_or_name)
            .filter(|user| user.organization_id == organization_id)
            .or_else(|| self.user_named(organization_id, id_or_name))
    }

    /// Users of an organisation, by name.
    pub(crate) fn users(&self, organization_id: &str) -> Vec<&User> {
        let mut users: Vec<_> = self
            .users
            .values()
            .filter(|user| user.organization_id == organization_id)
            .collect();
        users.sort_by(|a, b| a.name.cmp(&b.name));
        users
    }

    /// Bindings of an organisation, oldest first.
    pub(crate) fn bindings(&self, organization_id: &str) -> impl Iterator<Item = &Arc<Binding>> {
        self.bindings
            .iter()
            .filter(move |binding| binding.organization_id == organization_id)
    }

    /// A binding of an organisation by id.
    pub(crate) fn binding(&self, organization_id: &str, id: &str) -> Option<&Arc<Binding>> {
        self.bindings(organization_id).find(|binding| binding.id == id)
    }

    /// What a user has, directly and by groups.
    pub(crate) fn bindings_of<'a>(&'a self, user: &'a User) -> impl Iterator<Item = &'a Arc<Binding>> {
        let own = self.of_user.get(&user.id);
        let groups = self.of_group.get(&user.organization_id);
        let of_groups = groups
            .into_iter()
            .flat_map(|groups| user.groups.iter().filter_map(|group| groups.get(group)));
        own.into_iter().chain(of_groups).flatten()
    }

    /// Rights of an organisation's users to act as others.
    pub(crate) fn impersonators(&self, organization_id: &str) -> impl Iterator<Item = &ImpersonatorRow> {
        self.impersonators
            .iter()
            .filter(move |row| row.organization_id == organization_id)
    }

    /// Whether one user may act as another.
    pub(crate) fn may_act_as(&self, user: &User, target: &User) -> bool {
        user.organization_id == target.organization_id
            && self
                .impersonators
                .iter()
                .any(|row| row.user_id == user.id && row.target_id.as_ref().is_none_or(|id| *id == target.id))
    }

    /// A cluster's labels.
    pub(crate) fn labels(&self, cluster_id: &str) -> &Labels {
        static NONE: Labels = Labels::new();
        self.labels.get(cluster_id).map_or(&NONE, |(_, labels)| labels)
    }

    /// Whether a user's bindings, or the clusters that they are for, differ from what they are in `other`. A cluster that is
    /// made or deleted is no difference.
    pub(crate) fn differs_for(&self, other: &Self, user_id: &str) -> bool {
        let (Some(user), Some(before)) = (self.user(user_id), other.user(user_id)) else {
            return true;
        };
        if !self.bindings_of(user).eq(other.bindings_of(before)) {
            return true;
        }
        let mut selecting = self
            .bindings_of(user)
            .filter(|binding| matches!(binding.place, Place::Selector(_)));
        let labelled = |people: &Self, others: &Self, binding: &Binding| {
            people.labels.iter().any(|(id, (organization, labels))| {
                *organization == binding.organization_id
                    && binding.covers(id, labels) != binding.covers(id, others.labels(id))
            })
        };
        selecting.any(|binding| labelled(self, other, binding) || labelled(other, self, binding))
    }
}

impl User {
    fn of(row: UserRow) -> Self {
        Self {
            is_service: row.kind == "service",
            // Nobody is in a group that cannot be read.
            groups: serde_json::from_str(&row.member_of).unwrap_or_default(),
            id: row.id,
            organization_id: row.organization_id,
            name: row.name,
            display_name: row.display_name,
            created_at: row.created_at,
            disabled_at: row.disabled_at,
        }
    }

    /// As kept.
    pub(crate) fn row(&self) -> UserRow {
        UserRow {
            id: self.id.clone(),
            organization_id: self.organization_id.clone(),
            name: self.name.clone(),
            kind: self.kind().to_owned(),
            display_name: self.display_name.clone(),
            member_of: serde_json::to_string(&self.groups).expect("texts always serialize"),
            created_at: self.created_at,
            disabled_at: self.disabled_at,
        }
    }

    /// The word in JSON and the database.
    pub(crate) const fn kind(&self) -> &'static str {
        if self.is_service { "service" } else { "person" }
    }
}

impl Binding {
    fn of(row: BindingRow) -> Option<Self> {
        let subject = match (row.user_id, row.group_name) {
            (Some(id), None) => Subject::User(id),
            (None, Some(name)) => Subject::Group(name),
            _ => return None,
        };
        let place = match (row.scope_kind.as_str(), row.cluster_id, row.selector) {
            ("organization", None, None) => Place::Organization,
            ("cluster", Some(id), None) => Place::Cluster(id),
            ("selector", None, Some(selector)) => Place::Selector(selector.parse().ok()?),
            _ => return None,
        };
        let namespaces = match row.namespaces {
            None => Namespaces::All,
            Some(json) => {
                let names: Vec<String> = serde_json::from_str(&json).ok()?;
                Namespaces::only(names).ok()?
            }
        };
        Some(Self {
            id: row.id,
            organization_id: row.organization_id,
            subject,
            role: Role::of(&row.role)?,
            place,
            namespaces,
            created_at: row.created_at,
        })
    }

    /// As kept.
    pub(crate) fn row(&self) -> BindingRow {
        let (user_id, group_name) = match self.subject.clone() {
            Subject::User(id) => (Some(id), None),
            Subject::Group(name) => (None, Some(name)),
        };
        let (scope_kind, cluster_id, selector) = match &self.place {
            Place::Organization => ("organization", None, None),
            Place::Cluster(id) => ("cluster", Some(id.clone()), None),
            Place::Selector(selector) => ("selector", None, Some(selector.to_string())),
        };
        BindingRow {
            id: self.id.clone(),
            organization_id: self.organization_id.clone(),
            user_id,
            group_name,
            role: self.role.as_str().to_owned(),
            scope_kind: scope_kind.to_owned(),
            cluster_id,
            selector,
            namespaces: match &self.namespaces {
                Namespaces::All => None,
                Namespaces::Only(names) => {
                    Some(serde_json::to_string(names).expect("texts always serialize"))
                }
            },
            created_at: self.created_at,
        }
    }

    /// Whether it is for this cluster of its organisation.
    pub(crate) fn covers(&self, cluster_id: &str, labels: &Labels) -> bool {
        match &self.place {
            Place::Organization => true,
            Place::Cluster(id) => id == cluster_id,
            Place::Selector(selector) => selector.matches(labels),
        }
    }
}

fn by_id<T>(rows: Vec<T>, id: impl Fn(&T) -> String) -> HashMap<String, T> {
    rows.into_iter().map(|row| (id(&row), row)).collect()
}
