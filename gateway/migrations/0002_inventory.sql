-- The last inventory of each cluster. Times are Unix seconds.

CREATE TABLE inventories (
    cluster_id TEXT PRIMARY KEY REFERENCES clusters (id) ON DELETE CASCADE,
    -- What the agent is asked to go on from: the last state that was complete.
    epoch      TEXT NOT NULL,
    revision   INTEGER NOT NULL,
    -- Grows with every snapshot; records of an earlier one are gone once a snapshot is complete.
    generation INTEGER NOT NULL,
    -- 0: complete. 1: within a snapshot. 2: within a change of several parts. Left so by a broken stream, the agent is asked
    -- for a snapshot.
    partial    INTEGER NOT NULL,
    -- When the last complete state was stored.
    updated_at INTEGER NOT NULL,
    -- When it was last known to be true; behind by at most a minute while the agent is followed.
    seen_at    INTEGER NOT NULL
) STRICT;

-- What queries filter and sort by: narrow, so that going over all of one kind reads few pages. Without a foreign key to clusters,
-- which would need another index: whoever deletes a cluster deletes these in the same transaction.
CREATE TABLE inventory_records (
    kind        INTEGER NOT NULL,
    cluster_id  TEXT NOT NULL,
    id          TEXT NOT NULL,
    generation  INTEGER NOT NULL,
    -- Bytes of the value.
    size        INTEGER NOT NULL,
    node        TEXT,
    namespace   TEXT,
    -- Of the pod, workload or object.
    name        TEXT,
    -- Of workloads and nodes: all of them, each between commas.
    vendor      TEXT,
    model       TEXT,
    mode        TEXT,
    -- State of an allocation, verdict of a check, level of a finding.
    state       TEXT,
    -- The same as a number, the worst first.
    severity    INTEGER,
    code        TEXT,
    -- <kind>/<name> of the owner.
    workload    TEXT,
    gpu         TEXT,
    -- Devices that are healthy, nodes that are ready.
    healthy     INTEGER,
    -- Devices and nodes that an administrator took out.
    cordoned    INTEGER,
    stale       INTEGER,
    held        INTEGER,
    memory      INTEGER,
    memory_used INTEGER,
    cores       INTEGER,
    cores_used  INTEGER,
    -- Containers that may share a device, devices of a node or a workload.
    slots       INTEGER,
    slots_used  INTEGER,
    pods        INTEGER,
    utilization REAL,
    since       INTEGER,
    -- Id of the record of live use that belongs to it.
    usage_id    TEXT,
    -- Lower case; what `text` is looked for in.
    search      TEXT NOT NULL,
    PRIMARY KEY (kind, cluster_id, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE inventory_values (
    kind       INTEGER NOT NULL,
    cluster_id TEXT NOT NULL,
    id         TEXT NOT NULL,
    -- The record as JSON.
    value      TEXT NOT NULL,
    PRIMARY KEY (kind, cluster_id, id)
) STRICT;
