//! Databases of earlier releases.

use super::*;

/// As the release before organisations made it.
async fn before_people(dir: &TempDir) -> SqlitePool {
    let options = SqliteConnectOptions::new()
        .filename(dir.path().join(FILE))
        .create_if_missing(true)
        .foreign_keys(true)
        .journal_mode(SqliteJournalMode::Wal);
    let pool = SqlitePoolOptions::new()
        .max_connections(1)
        .connect_with(options)
        .await
        .unwrap();
    let mut migrator = sqlx::migrate!();
    migrator.migrations = migrator
        .migrations
        .iter()
        .filter(|migration| migration.version <= 2)
        .cloned()
        .collect();
    migrator.run(&pool).await.unwrap();
    pool
}

async fn execute(pool: &SqlitePool, sql: &'static str) {
    sqlx::query(sql).execute(pool).await.unwrap();
}

async fn rows(store: &Store, sql: &'static str) -> Vec<(String, String)> {
    sqlx::query_as(sql).fetch_all(&store.readers).await.unwrap()
}

#[tokio::test]
async fn people_tokens_and_clusters_of_an_earlier_release_move_to_the_default_organisation() {
    let dir = tempfile::tempdir().unwrap();
    let pool = before_people(&dir).await;
    let token = Token::generate(TokenKind::Api);
    execute(
        &pool,
        "INSERT INTO users (id, name, role, created_at) VALUES ('u1', 'admin', 'admin', 5), ('u2', 'bob', 'viewer', 6)",
    )
    .await;
    sqlx::query(
        "INSERT INTO api_tokens (id, user_id, name, secret_hash, created_at, expires_at) VALUES (?, 'u1', 'first', ?, 5, NULL)",
    )
    .bind(&token.id)
    .bind(token.secret_hash().as_slice())
    .execute(&pool)
    .await
    .unwrap();
    execute(
        &pool,
        "INSERT INTO clusters (id, name, display_name, profile, created_at, revoked_at, connected, last_seen, agent)
         VALUES ('c-1', 'prod', 'Prod', 'operate', 7, NULL, 1, 8, '{}'), ('c-2', 'old', 'Old', 'observe', 7, 9, 0, NULL, NULL)",
    )
    .await;
    execute(
        &pool,
        "INSERT INTO enrollment_tokens (id, cluster_id, secret_hash, created_at, expires_at, used_by_key)
         VALUES ('e1', 'c-1', zeroblob(32), 7, 99, 'k-1')",
    )
    .await;
    execute(
        &pool,
        "INSERT INTO agent_keys (id, cluster_id, public_key, cluster_uid, created_at, revoked_at)
         VALUES ('k-1', 'c-1', zeroblob(32), 'uid', 8, NULL)",
    )
    .await;
    execute(
        &pool,
        "INSERT INTO inventories VALUES ('c-1', 'e', 3, 4, 0, 10, 11)",
    )
    .await;
    execute(
        &pool,
        "INSERT INTO inventory_records (kind, cluster_id, id, generation, size, search) VALUES (2, 'c-1', 'n1', 4, 2, 'n1')",
    )
    .await;
    execute(
        &pool,
        "INSERT INTO inventory_values VALUES (2, 'c-1', 'n1', '{}')",
    )
    .await;
    pool.close().await;

    let store = Store::open(dir.path()).await.unwrap();
    let clusters = store.clusters().await.unwrap();
    let names: Vec<_> = clusters
        .iter()
        .map(|c| (c.id.as_str(), c.name.as_str()))
        .collect();
    assert_eq!(names, [("c-2", "old"), ("c-1", "prod")]);
    assert_eq!(
        (
            clusters[0].revoked_at,
            clusters[1].connected,
            clusters[1].enrolled_at
        ),
        (Some(9), true, Some(8))
    );
    let found = store.api_token(&token.id).await.unwrap().unwrap();
    assert!(token.matches_hash(&found.secret_hash));
    assert_eq!((found.user_id.as_str(), found.expires_at), ("u1", None));
    let bindings = "SELECT user_id, role FROM bindings
                    WHERE scope_kind = 'organization' AND namespaces IS NULL ORDER BY user_id";
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(
        rows(&store, bindings).await,
        [pair("u1", "admin"), pair("u2", "viewer")]
    );
    let all = "SELECT name, kind FROM users WHERE organization_id = 'o-default' AND disabled_at IS NULL ORDER BY id";
    assert_eq!(
        rows(&store, all).await,
        [pair("admin", "person"), pair("bob", "person")]
    );
    let kept = "SELECT e.id, i.epoch FROM enrollment_tokens e JOIN inventories i USING (cluster_id)
                JOIN inventory_records r USING (cluster_id) JOIN clusters c ON c.id = cluster_id
                WHERE c.labels = '{}' AND c.organization_id = 'o-default'";
    assert_eq!(rows(&store, kept).await, [pair("e1", "e")]);
    // What refers to what is as before.
    let broken: Vec<(String,)> = sqlx::query_as("SELECT \"table\" FROM pragma_foreign_key_check")
        .fetch_all(&store.readers)
        .await
        .unwrap();
    assert_eq!(broken, []);
    execute(&store.writer, "DELETE FROM users WHERE id = 'u1'").await;
    execute(&store.writer, "DELETE FROM clusters WHERE id = 'c-1'").await;
    assert_eq!(rows(&store, bindings).await, [pair("u2", "viewer")]);
    for table in [
        "SELECT id, id FROM api_tokens",
        "SELECT id, id FROM enrollment_tokens",
        "SELECT epoch, epoch FROM inventories",
    ] {
        assert_eq!(rows(&store, table).await, [], "{table}");
    }
}
