//! The rows, one file per area.

use crate::row::Check;

/// Writes the constant of each code and its row from one place.
///
/// `check` names what is checked; a code without it is not a check that `preflight` or `doctor` runs.
macro_rules! rows {
    (@name $en:literal, $zh:literal) => { Some($crate::Text { en: $en, zh: $zh }) };
    (@name) => { None };
    ($($name:ident = $code:literal, $severity:ident,
        $(check: { en: $check_en:literal, zh: $check_zh:literal },)?
        title: { en: $title_en:literal, zh: $title_zh:literal },
        cause: { en: $cause_en:literal, zh: $cause_zh:literal },
        remedy: { en: $remedy_en:literal, zh: $remedy_zh:literal };)*) => {
        impl $crate::Code {
            $(#[doc = $title_en] pub const $name: Self = Self::new($code);)*
        }

        pub(super) const ROWS: &[$crate::Check] = &[$($crate::Check {
            code: $crate::Code::$name,
            severity: $crate::Severity::$severity,
            name: rows!(@name $($check_en, $check_zh)?),
            title: $crate::Text { en: $title_en, zh: $title_zh },
            cause: $crate::Text { en: $cause_en, zh: $cause_zh },
            remedy: $crate::Text { en: $remedy_en, zh: $remedy_zh },
        },)*];
    };
}

mod agent;
mod audit;
mod auth;
mod cluster;
mod config;
mod gateway_api;
mod gpu;
mod hami;
mod login;
mod monitoring;
mod network;
mod policy;
mod server;
mod tls;

/// In the order in which a connect passes them: what fails first is read first.
pub(crate) const ALL: [&[Check]; 14] = [
    config::ROWS,
    network::ROWS,
    tls::ROWS,
    auth::ROWS,
    cluster::ROWS,
    gpu::ROWS,
    hami::ROWS,
    monitoring::ROWS,
    gateway_api::ROWS,
    agent::ROWS,
    policy::ROWS,
    server::ROWS,
    audit::ROWS,
    login::ROWS,
];
