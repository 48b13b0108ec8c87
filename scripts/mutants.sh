#!/usr/bin/env bash
# Weakens one line of security at a time and shows that a test turns red: mutants.sh [PATTERN]
# Each mutant is made in a scratch work tree of the last commit; nothing of the caller's is touched. Prints a table in Markdown; the
# exit status is not 0 if a mutant survives, does not compile, changes nothing, or if its test is red without it.
# With PATTERN only those whose line matches it.
set -euo pipefail
root=$(git -C "$(dirname "$0")" rev-parse --show-toplevel)
pattern=${1:-.}
work=$(mktemp -d)
# Always the same folder, so that a second run builds only what differs.
tree=${CARGO_TARGET_DIR:-$root/target}/mutants
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/target} CARGO_INCREMENTAL=0 RUST_BACKTRACE=0
git -C "$root" worktree remove --force "$tree" 2>/dev/null || true
git -C "$root" worktree prune
git -C "$root" worktree add --quiet --force --detach "$tree"
trap 'git -C "$root" worktree remove --force "$tree"; rm -rf "$work"' EXIT
cd "$tree"

# number of docs/security.md | what is taken away | file | how (Perl, on the whole file) | package and kind of test | test
mutants() {
  cat <<'T'
1 | a request with `Impersonate-*` is not refused | proto/src/headers.rs | s/(pub fn has_impersonation.*?\{\n).*?\n\}/$1    let _ = headers;\n    false\n}/s | proto --lib | impersonation_is_seen_in_any_form
1 | `Impersonate-*` is not taken out | proto/src/headers.rs | s/(UNTRUSTED_PREFIXES: \[&str; )4(\] = \[)IMPERSONATE, /${1}3$2/ | proto --lib | identities_and_credentials_are_taken_out_in_any_case
3 | headers that `Connection` names are kept | proto/src/headers.rs | s/in named\.iter\(\)\.chain\(&HOP_BY_HOP\)/in named.iter().take(0).chain(&HOP_BY_HOP)/ | proto --lib | headers_that_connection_names_are_taken_out
4 | `X-Remote-*` is not taken out | proto/src/headers.rs | s/"x-remote-"/"x-remoti-"/ | proto --lib | identities_and_credentials_are_taken_out_in_any_case
6 | a token in the query passes | proto/src/request.rs | s/query\.is_some_and\(query::carries_token\)/query.is_some_and(query::carries_token) && false/ | proto --lib | tokens_in_the_query_are_refused
6 | a bearer token among WebSocket subprotocols passes | proto/src/headers.rs | s/filter\(\|protocol\| !is_bearer\(protocol\)\)/filter(|protocol| !protocol.is_empty())/ | proto --lib | a_bearer_token_among_the_subprotocols_is_taken_out
7 | `Authorization` goes on to the next hop | proto/src/headers.rs | s/OF_THIS_HOP: \[HeaderName; 5\] = \[\n    AUDIT_ID,\n    header::AUTHORIZATION,/OF_THIS_HOP: [HeaderName; 4] = [\n    AUDIT_ID,/ | proto --lib | identities_and_credentials_are_taken_out_in_any_case
7 | a cluster sets cookies for the gateway's name | proto/src/headers.rs | s/for name in \[\s*header::SET_COOKIE,\s*/for name in [/ | proto --lib | cookies_and_questions_for_passwords_are_taken_out_of_answers
10 | attach by GET counts as reading | proto/src/request.rs | s/\[&str; 4\] = \["exec", "attach", /[&str; 3] = ["exec", / | proto --lib | a_stream_is_connect_by_every_method
10 | a viewer may read logs | policy/src/table.rs | s/operator\("", &\["pods\/log"\]/viewer("", &["pods\/log"]/ | policy --lib | each_request_takes_its_role_and_its_namespace
10 | service account tokens for admins | policy/src/lib.rs | s/info\.resource == "serviceaccounts" && info\.subresource == "token"/info.resource == "serviceaccounts" && info.subresource == "tokens"/ | policy --lib | each_request_takes_its_role_and_its_namespace
11 | `..` in a path passes | proto/src/request/path.rs | s/matches!\(segment, "\." \| "\.\."\)/matches!(segment, ".")/ | proto --lib | paths_with_two_readings_are_refused
11 | an encoded slash passes | proto/src/request/path.rs | s/if slashes\(path\) != expected/if slashes(path) < expected/ | proto --lib | paths_with_two_readings_are_refused
11 | paths are decoded once only | proto/src/request/path.rs | s/MAX_DECODINGS: usize = 2/MAX_DECODINGS: usize = 1/ | proto --lib | request::tests
12 | a list of all namespaces passes with a role in one | policy/src/lib.rs | s/if info\.namespace\.is_empty\(\) \|\| !names/if !info.namespace.is_empty() && !names/ | policy --lib | each_request_takes_its_role_and_its_namespace
19 | an assertion may name another cluster than its key | gateway/src/agents/connect.rs | s/if claims\.cluster_id != cluster_id \{/if claims.cluster_id.is_empty() {/ | gateway --test hostile | h01_to_h08_names_of_others
19 | a signature is not checked | proto/src/assertion.rs | s/\.map_err\(\|_\| AssertionError::Signature\)\?;/.ok();/ | proto --lib | assertion::tests
20 | a link is resumed by whoever knows its name and secret | tunnel/src/link/accept.rs | s/if entry\.principal == principal =>/if !entry.principal.is_empty() \&\& !principal.is_empty() =>/ | gateway --test hostile | h09_to_h11_links_and_tunnels_of_others
21 | an identity that was copied to another cluster is taken | gateway/src/agents/connect.rs | s/if claims\.cluster_uid != cluster_uid \{/if claims.cluster_uid.is_empty() {/ | gateway --test hostile | h01_to_h08_names_of_others
26 | an assertion is good twice | gateway/src/agents/connect.rs | s/app\.agents\.used\.lock\(\)\.take\(nonce, now\)/app.agents.used.lock().take(nonce, now).or(Ok::<(), NonceRefusal>(()))/ | gateway --test hostile | h01_to_h08_names_of_others
27 | clocks are not compared | gateway/src/agents/connect.rs | s/    check_clock\(claims\.issued_at, now\)\?;\n// | gateway --test hostile | h01_to_h08_names_of_others
38 | an agent removes records of any cluster | gateway/src/store/inventory/write.rs | s/sql\.push\(" AND cluster_id = "\)\.push_bind\(cluster_id\);/sql.push(" AND cluster_id <> ");\n                sql.push_bind("");/ | gateway --test hostile | h17_to_h19_records_that_name_others
30 | a Service is reached on every port | policy/src/service.rs | s/ && port == self\.port/ && !port.is_empty()/ | policy --lib | only_listed_services_are_reached
37 | the agent does not apply the owner's limits | policy/src/local.rs | s/match self\.forbids\(info\) \{/match self.forbids(info).filter(|_| info.path.is_empty() && info.name == "-") {/ | policy --lib | switches_forbid_by_every_form_of_a_request
37 | the profile does not cap the role | policy/src/local.rs | s/role\.min\(self\.profile\.role\(\)\)/role/ | policy --lib | the_profile_caps_every_role
8 | anybody acts as whom somebody else may act as | gateway/src/people/model.rs | s/row\.user_id == user\.id && row/row.organization_id == user.organization_id \&\& row/ | gateway --lib | acting_as_others_takes_a_right_of_the_same_organisation
10 | a token's scope does not lower the role | gateway/src/people/rights.rs | s/Some\(role\.min\(most\)\)/Some(role.max(most))/ | gateway --lib | a_scope_narrows_and_never_widens
12 | an admin of some namespaces manages the cluster | gateway/src/people/rights.rs | s/if \*namespaces == Namespaces::All \{/if cluster_id != "-" {/ | gateway --lib | who_is_admin_of_some_namespaces_manages_nothing
12 | lists show records of all namespaces | gateway/src/store/inventory/read.rs | s/if is_of_namespace\(self\.kind\) && !self\.narrowed\.is_empty\(\)/if is_of_namespace(self.kind) && self.narrowed.len() > 99/ | gateway --test it | a_binding_for_namespaces_narrows_lists_counts_and_downloads
12 | events tell of all namespaces | gateway/src/api/visible.rs | s/!is_of_namespace\(kind\) \|\| named\(names\)/!is_of_namespace(kind) || !named(\&BTreeSet::new())/ | gateway --test it | events_tell_of_what_may_be_seen
23 | what was worked out before a change is used after it | gateway/src/authorize/access.rs | s/access\.generation\.load\(SeqCst\) == registry\.generation\(\)/access.generation.load(SeqCst) <= registry.generation()/ | gateway --lib | a_change_that_no_request_has_seen_yet_counts_all_the_same
24 | a cluster of another organisation is found by its id | gateway/src/directory.rs | s/\.filter\(\|cluster\| \*cluster\.organization_id == \*organization_id\)/.filter(|cluster| !cluster.name.is_empty())/ | gateway --lib | clusters_are_found_by_id_and_name_in_their_organisation_until_removed
24 | a user of another organisation is found by his id | gateway/src/people/model.rs | s/\.filter\(\|user\| user\.organization_id == organization_id\)\s+\.or_else/.filter(|user| !user.name.is_empty())\n            .or_else/ | gateway --lib | users_are_found_in_their_organisation_only
25 | a right that is gone ends nothing | gateway/src/authorize/access.rs | s/old\.ended\.cancel\(\);/let _ = old;/ | gateway --lib | what_is_gone_or_less_is_ended_and_what_is_within_more_goes_on
25 | a user who is disabled goes on with the tokens in memory | gateway/src/auth.rs | s/self\.forget\(\|identity\| next\.enabled_user\(&identity\.user_id\)\.is_none\(\)\)/self.forget(|identity| next.user(\&identity.user_id).is_none())/ | gateway --test it | each_way_to_take_a_right_away_ends_what_it_opened
T
}

run() { # PACKAGE KIND TEST
  local package=$1 kind=$2; shift 2
  # shellcheck disable=SC2086
  cargo test --quiet --locked -p "kantaloupe-$package" $kind "$@"
}

wrong=0 count=0 baseline=""
rows=$(mutants | grep -E -- "$pattern")
# Each test is there, and green without a mutant.
while IFS= read -r row; do
  mapfile -t field < <(sed 's/ | /\n/g' <<<"$row")
  read -r package kind <<<"${field[4]}"; test=${field[5]}
  case "$baseline" in *" $package/$test "*) continue ;; esac
  baseline+=" $package/$test "
  run "$package" "$kind" -- "$test" >"$work/out" 2>&1 || { tail -20 "$work/out" >&2; echo "mutants: $test of $package is red without a mutant" >&2; exit 1; }
  grep -Eq 'running [1-9][0-9]* test' "$work/out" || { echo "mutants: $package has no test $test" >&2; exit 1; }
done <<<"$rows"

printf '| # | taken away | in | test that turns red |\n|---|---|---|---|\n'
while IFS= read -r row; do
  mapfile -t field < <(sed 's/ | /\n/g' <<<"$row")
  number=${field[0]} what=${field[1]} file=${field[2]} change=${field[3]} how=${field[4]} test=${field[5]}
  read -r package kind <<<"$how"
  perl -0pi -e "$change" "$file"
  if git diff --quiet; then verdict="NOTHING CHANGED"
  elif ! run "$package" "$kind" --no-run >"$work/out" 2>&1; then verdict="DOES NOT COMPILE"; tail -30 "$work/out" >&2
  elif run "$package" "$kind" -- "$test" >"$work/out" 2>&1; then verdict="SURVIVED"
  else verdict=""; fi
  git checkout --quiet -- .
  count=$((count + 1))
  [ -z "$verdict" ] || wrong=$((wrong + 1))
  printf '| %s | %s | `%s` | `%s`%s |\n' "$number" "$what" "$file" "$test" "${verdict:+ **$verdict**}"
done <<<"$rows"
echo "mutants: $((count - wrong)) of $count found" >&2
[ "$wrong" = 0 ]
