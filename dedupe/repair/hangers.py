"""What hangs on a unique index: all that must go before it can hold a key twice.

Sources: https://www.postgresql.org/docs/current/catalog-pg-constraint.html,
https://www.postgresql.org/docs/current/sql-altertable.html,
https://www.postgresql.org/docs/current/logical-replication-publication.html
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..errors import UnknownObject
from ..key.catalog import qualified
from ..session import Session
from ..table import quoted

Kind = Literal[
    "foreign key",
    "replica identity",
    "primary key",
    "unique constraint",
    "cluster",
    "partition parent",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hanger:
    """One thing that an index holds up."""

    kind: Kind
    #: of the constraint; of the index itself where it is the replica identity or clustered
    name: str
    #: qualified name of its table, for people
    table: str
    #: the statement that restores it, once a unique index of that name is there
    definition: str
    #: the statement that drops it; empty where the index alone cannot be freed of it
    drop: str

    @property
    def must_go(self) -> bool:
        """Whether the index can be freed of it, and not else hold a key twice.

        A CLUSTER mark goes with the index; a partition's index goes with its parent.
        """
        return self.kind not in {"cluster", "partition parent"}


def hangers(session: Session, index_oid: int) -> tuple[Hanger, ...]:
    """List what hangs on an index, in the order in which it can be dropped.

    Foreign keys that refer to its columns, replica identity (also a published table's
    by default, which is its primary key), constraint, CLUSTER mark, and the partitioned
    index that it is a part of. Who writes ON CONFLICT is not known to the server.
    Reads the catalogs only.
    """
    found: list[Hanger] = []
    for kind, name, schema, table, definition, comment in session.rows(
        """
        SELECT k.contype::text, k.conname, n.nspname, t.relname,
               CASE WHEN k.contype = 'f' OR t.relkind = 'p'
                    THEN pg_catalog.pg_get_constraintdef(k.oid)
                    ELSE CASE k.contype WHEN 'p' THEN 'PRIMARY KEY' ELSE 'UNIQUE' END
                         || ' USING INDEX ' || pg_catalog.quote_ident(k.conname)
                         || CASE WHEN k.condeferrable THEN ' DEFERRABLE' ELSE '' END
                         || CASE WHEN k.condeferred THEN ' INITIALLY DEFERRED' ELSE '' END END,
               pg_catalog.quote_literal(
                   pg_catalog.obj_description(k.oid, 'pg_constraint'))
        FROM pg_catalog.pg_constraint k
        JOIN pg_catalog.pg_class t ON t.oid = k.conrelid
        JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace
        WHERE k.conindid = $1::oid AND k.contype IN ('f', 'p', 'u')
          -- The copies that partitions have come and go with the one that was declared.
          AND (k.conparentid = 0 OR k.contype <> 'f')
        ORDER BY k.contype = 'f' DESC, n.nspname, t.relname, k.conname
        """,
        [index_oid],
    ):
        sql, constraint = qualified(schema, table), quoted(name)
        restore = f"ALTER TABLE {sql} ADD CONSTRAINT {constraint} {definition}"
        if comment is not None:
            restore += f"; COMMENT ON CONSTRAINT {constraint} ON {sql} IS {comment}"
        kinds: dict[str, Kind] = {"f": "foreign key", "p": "primary key", "u": "unique constraint"}
        found.append(
            Hanger(
                kind=kinds[kind],
                name=name,
                table=f"{schema}.{table}",
                definition=restore,
                drop=f"ALTER TABLE {sql} DROP CONSTRAINT {constraint}",
            )
        )
    rows = session.rows(
        """
        SELECT n.nspname, t.relname, x.relname, i.indisclustered, i.indisreplident,
               t.relreplident = 'd' AND i.indisprimary AND EXISTS (
                   SELECT FROM pg_catalog.pg_publication_tables p
                   JOIN pg_catalog.pg_namespace s ON s.nspname = p.schemaname
                   JOIN pg_catalog.pg_class c ON c.relnamespace = s.oid
                                             AND c.relname = p.tablename
                   WHERE c.oid = t.oid OR c.oid IN (
                       SELECT a.relid FROM pg_catalog.pg_partition_ancestors(t.oid) a)),
               (SELECT ARRAY[ps.nspname::text, p.relname::text]
                FROM pg_catalog.pg_inherits h
                JOIN pg_catalog.pg_class p ON p.oid = h.inhparent
                JOIN pg_catalog.pg_namespace ps ON ps.oid = p.relnamespace
                WHERE h.inhrelid = i.indexrelid)
        FROM pg_catalog.pg_index i
        JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
        JOIN pg_catalog.pg_class t ON t.oid = i.indrelid
        JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace
        WHERE i.indexrelid = $1::oid
        """,
        [index_oid],
    )
    if not rows:
        raise UnknownObject(
            f"there is no index with the oid {index_oid}", kind="index", name=str(index_oid)
        )
    schema, table, name, clustered, identity, published, parent = rows[0]
    sql, label = qualified(schema, table), f"{schema}.{table}"
    if identity or published:
        using = f"USING INDEX {quoted(name)}" if identity else "DEFAULT"
        found.append(
            Hanger(
                kind="replica identity",
                name=name,
                table=label,
                definition=f"ALTER TABLE {sql} REPLICA IDENTITY {using}",
                # Without an identity a published table refuses UPDATE and DELETE.
                drop=f"ALTER TABLE {sql} REPLICA IDENTITY FULL",
            )
        )
    if clustered:
        found.append(
            Hanger(
                kind="cluster",
                name=name,
                table=label,
                definition=f"ALTER TABLE {sql} CLUSTER ON {quoted(name)}",
                drop=f"ALTER TABLE {sql} SET WITHOUT CLUSTER",
            )
        )
    if parent is not None:
        found.append(
            Hanger(
                kind="partition parent",
                name=parent[1],
                table=label,
                definition=f"ALTER INDEX {qualified(*parent)} ATTACH PARTITION"
                f" {qualified(schema, name)}",
                drop="",
            )
        )
    order: tuple[Kind, ...] = ("foreign key", "replica identity")
    return tuple(sorted(found, key=lambda hanger: hanger.kind not in order))
