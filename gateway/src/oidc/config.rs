//! Settings of the OpenID Connect provider.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use secrecy::SecretString;
use url::Url;

/// Scopes that are asked for unless told otherwise. `openid` makes it OIDC; the others carry names.
const DEFAULT_SCOPES: &str = "openid profile email";
/// Bytes of a secret's file.
const MAX_SECRET: u64 = 4096;
/// A change of somebody's groups shows within this time in a session that is open.
const DEFAULT_REFRESH: &str = "5m";

/// Flags of `serve` about OpenID Connect, unparsed. Without an issuer there is none.
#[derive(Clone, Debug, Default, Args)]
pub struct OidcArgs {
    /// Issuer of the OpenID Connect provider that people log in at, such as `https://id.example.com/realms/main`.
    #[arg(long, env = "KANTALOUPE_GATEWAY_OIDC_ISSUER")]
    pub oidc_issuer: Option<String>,
    /// Client id of this gateway at the provider.
    #[arg(long, env = "KANTALOUPE_GATEWAY_OIDC_CLIENT_ID")]
    pub oidc_client_id: Option<String>,
    /// File with the client secret; without it the gateway is a public client (PKCE alone).
    #[arg(long, env = "KANTALOUPE_GATEWAY_OIDC_CLIENT_SECRET_FILE")]
    pub oidc_client_secret_file: Option<PathBuf>,
    /// Scopes to ask for, with spaces between; `openid` must be one.
    #[arg(long, env = "KANTALOUPE_GATEWAY_OIDC_SCOPES")]
    pub oidc_scopes: Option<String>,
    /// Claim with the user name; `preferred_username` if not given.
    #[arg(long, env = "KANTALOUPE_GATEWAY_OIDC_USERNAME_CLAIM")]
    pub oidc_username_claim: Option<String>,
    /// Claim with the groups; `groups` if not given.
    #[arg(long, env = "KANTALOUPE_GATEWAY_OIDC_GROUPS_CLAIM")]
    pub oidc_groups_claim: Option<String>,
    /// Organisation that the provider's people belong to; `default` if not given.
    #[arg(long, env = "KANTALOUPE_GATEWAY_OIDC_ORGANIZATION")]
    pub oidc_organization: Option<String>,
    /// CA certificates (PEM) to trust for the provider besides those of the system.
    #[arg(long, env = "KANTALOUPE_GATEWAY_OIDC_CA_FILE")]
    pub oidc_ca_file: Option<PathBuf>,
    /// How often the groups of open sessions are asked for again, such as 5m; if the provider gives refresh tokens.
    #[arg(long, env = "KANTALOUPE_GATEWAY_OIDC_REFRESH")]
    pub oidc_refresh: Option<String>,
    /// Where the provider sends people after a logout; it has to be registered there.
    #[arg(long, env = "KANTALOUPE_GATEWAY_OIDC_AFTER_LOGOUT")]
    pub oidc_after_logout: Option<String>,
}

/// Names of claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// With the user name.
    pub username: String,
    /// With the groups.
    pub groups: String,
}

impl Default for Claims {
    fn default() -> Self {
        Self {
            username: "preferred_username".to_owned(),
            groups: "groups".to_owned(),
        }
    }
}

/// Checked settings.
#[derive(Clone, Debug)]
pub struct OidcConfig {
    /// As the provider writes it: compared character by character.
    pub issuer: String,
    /// Our name at the provider.
    pub client_id: String,
    /// Our secret at the provider; `None` for a public client.
    pub client_secret: Option<SecretString>,
    /// With spaces between.
    pub scopes: String,
    /// Names of claims.
    pub claims: Claims,
    /// Name of the organisation.
    pub organization: String,
    /// Extra roots.
    pub ca_file: Option<PathBuf>,
    /// Time between two looks at the groups of a session.
    pub refresh: Duration,
    /// Where people go after a logout at the provider.
    pub after_logout: Option<Url>,
}

impl OidcArgs {
    /// Checks all; what is wrong is added to `bad`. `None` without an issuer.
    pub(crate) fn check(
        self,
        duration: impl FnOnce(&str, &str, &mut Vec<String>) -> Option<Duration>,
        bad: &mut Vec<String>,
    ) -> Option<OidcConfig> {
        let Some(issuer) = self.oidc_issuer else {
            let others = [
                ("--oidc-client-id", self.oidc_client_id.is_some()),
                (
                    "--oidc-client-secret-file",
                    self.oidc_client_secret_file.is_some(),
                ),
            ];
            for (flag, _) in others.iter().filter(|(_, given)| *given) {
                bad.push(format!("{flag} is given without --oidc-issuer"));
            }
            return None;
        };
        if let Err(why) = https(&issuer, false) {
            bad.push(format!("--oidc-issuer: {why}"));
        }
        let after_logout = self.oidc_after_logout.and_then(|text| {
            https(&text, true)
                .map_err(|why| bad.push(format!("--oidc-after-logout: {why}")))
                .ok()
        });
        let client_id = self.oidc_client_id.unwrap_or_default();
        if client_id.is_empty() || client_id.chars().any(char::is_control) {
            bad.push(
                "--oidc-client-id is missing; the provider gave one when the gateway was registered there"
                    .to_owned(),
            );
        }
        let client_secret = self.oidc_client_secret_file.and_then(|path| {
            read_secret(&path)
                .map_err(|why| bad.push(format!("--oidc-client-secret-file {}: {why}", path.display())))
                .ok()
        });
        let scopes = self.oidc_scopes.unwrap_or_else(|| DEFAULT_SCOPES.to_owned());
        if !scopes.split(' ').any(|scope| scope == "openid") || scopes.chars().any(char::is_control) {
            bad.push(format!(
                "--oidc-scopes: {scopes:?} does not have openid among them"
            ));
        }
        let defaults = Claims::default();
        let claims = Claims {
            username: self.oidc_username_claim.unwrap_or(defaults.username),
            groups: self.oidc_groups_claim.unwrap_or(defaults.groups),
        };
        if claims.username.is_empty() {
            bad.push("--oidc-username-claim is empty".to_owned());
        }
        let refresh = self.oidc_refresh.as_deref().unwrap_or(DEFAULT_REFRESH);
        let refresh = duration("--oidc-refresh", refresh, bad)?;
        if refresh.is_zero() {
            bad.push("--oidc-refresh is 0".to_owned());
        }
        Some(OidcConfig {
            issuer,
            client_id,
            client_secret,
            scopes,
            claims,
            organization: self.oidc_organization.unwrap_or_else(|| "default".to_owned()),
            ca_file: self.oidc_ca_file,
            refresh,
            after_logout,
        })
    }
}

/// An https URL; an issuer has no query (OpenID Connect Discovery 1.0, section 3).
fn https(text: &str, query: bool) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|_| format!("{text:?} is not a URL"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("the URL must not hold credentials".to_owned());
    }
    if url.scheme() != "https" {
        return Err(format!("{text:?} does not begin with https://"));
    }
    if (url.query().is_some() && !query) || url.fragment().is_some() {
        return Err(format!("{text:?} has a query or a fragment"));
    }
    Ok(url)
}

fn read_secret(path: &std::path::Path) -> Result<SecretString, String> {
    let size = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    if size > MAX_SECRET {
        return Err(format!("larger than {MAX_SECRET} bytes"));
    }
    let text = SecretString::from(std::fs::read_to_string(path).map_err(|error| error.to_string())?);
    let trimmed = secrecy::ExposeSecret::expose_secret(&text).trim();
    if trimmed.is_empty() {
        return Err("the file is empty".to_owned());
    }
    Ok(trimmed.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(args: OidcArgs) -> (Option<OidcConfig>, Vec<String>) {
        let mut bad = vec![];
        let config = args.check(|_, _, _| Some(Duration::from_mins(5)), &mut bad);
        (config, bad)
    }

    #[test]
    fn without_an_issuer_there_is_none_and_half_of_one_is_a_mistake() {
        assert!(matches!(check(OidcArgs::default()), (None, bad) if bad.is_empty()));
        let args = OidcArgs {
            oidc_client_id: Some("gateway".to_owned()),
            ..OidcArgs::default()
        };
        assert_eq!(check(args).1, ["--oidc-client-id is given without --oidc-issuer"]);
    }

    #[test]
    fn every_mistake_is_named_and_no_secret_is_shown() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret");
        std::fs::write(&file, "hunter2\n").unwrap();
        let good = OidcArgs {
            oidc_issuer: Some("https://id.example.com/realms/main".to_owned()),
            oidc_client_id: Some("gateway".to_owned()),
            oidc_client_secret_file: Some(file),
            ..OidcArgs::default()
        };
        let (config, bad) = check(good.clone());
        assert!(bad.is_empty(), "{bad:?}");
        assert!(!format!("{config:?}").contains("hunter2"));
        for issuer in [
            "id.example.com",
            "http://id.example.com",
            "https://u:hunter2@id.example.com",
            "https://id.example.com?a=b",
        ] {
            let args = OidcArgs {
                oidc_issuer: Some(issuer.to_owned()),
                ..good.clone()
            };
            let bad = check(args).1.join("; ");
            assert!(bad.contains("--oidc-issuer") && !bad.contains("hunter2"), "{bad}");
        }
        let args = OidcArgs {
            oidc_client_id: None,
            oidc_client_secret_file: Some(dir.path().join("missing")),
            oidc_scopes: Some("profile email".to_owned()),
            oidc_username_claim: Some(String::new()),
            ..good
        };
        let bad = check(args).1;
        assert_eq!(bad.len(), 4, "{bad:?}");
    }
}
