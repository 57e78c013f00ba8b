"""A resolved key writes SQL: digest, equality and the test for taking part.

The digest has 64 bits and agrees with the key's equality: equal keys have equal
digests, and unequal ones share one about once in 2^64 pairs. It only nominates;
``equal`` decides. Everything that the SQL names is schema-qualified and every
collation is written out, so the texts mean the same under any search path.

Source: https://www.postgresql.org/docs/current/xindex.html (operator families,
hash support functions), https://www.postgresql.org/docs/current/collation.html
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

#: Stands for the operand in a template. PostgreSQL text never holds a NUL byte,
#: so no hostile name can be taken for it.
OPERAND = "\x00operand\x00"
#: Stands for the seed (a bigint) in a template.
SEED = "\x00seed\x00"

#: What a NULL is hashed to where NULLs are equal; any constant will do, and
#: other values meet it as rarely as they meet one another.
_NULL_MARK = 1_852_204_140

_PLAIN_NAME = re.compile(r"[a-z_][a-z0-9_]*")
_PLAIN = re.compile(r"[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)?")


def atom(text: str) -> str:
    """Wrap a piece of SQL so that any operator may stand beside it."""
    return text if _PLAIN.fullmatch(text) else f"({text})"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyColumn:
    """One column or expression of a key, with the equality that the key has for it."""

    #: SQL over unqualified column names, complete in itself (an operand anywhere)
    expression: str
    #: type of the expression as ``format_type`` writes it
    type: str
    #: the index's own equality, ``OPERATOR(schema.name)``
    equality: str
    #: quoted and qualified collation; None where the type has none
    collation: str | None
    #: type that the equality is declared for, where the expression must be cast to it
    cast: str | None
    #: whether it is a row type, for which IS NULL asks about the fields
    row_type: bool
    #: template of the 64-bit hash (bigint) over OPERAND and SEED
    hash: str
    #: whether the template gives NULL for a NULL operand
    strict: bool
    #: template of the eight bytes that are the value itself (bytea), where it has so few
    exact: str | None

    @property
    def unquoted(self) -> str:
        """The expression as the server writes it within others."""
        inner = self.expression[1:-1]
        if self.expression.startswith("(") or _PLAIN_NAME.fullmatch(inner):
            return inner
        return self.expression

    def is_null(self, operand: str) -> str:
        """Write the test for NULL (boolean, never NULL)."""
        if self.row_type:
            # ROW(NULL, NULL) IS NULL is true, though the value itself is there.
            return f"pg_catalog.num_nulls({operand}) OPERATOR(pg_catalog.=) 1"
        return f"{atom(operand)} IS NULL"

    def is_present(self, operand: str) -> str:
        """Write the test for NOT NULL (boolean, never NULL)."""
        if self.row_type:
            return f"pg_catalog.num_nulls({operand}) OPERATOR(pg_catalog.=) 0"
        return f"{atom(operand)} IS NOT NULL"

    def hash_of(self, operand: str, seed: str) -> str:
        """Write the hash of an operand (bigint; NULL where the operand is NULL)."""
        text = self.hash.replace(OPERAND, atom(operand)).replace(SEED, seed)
        if self.strict:
            return text
        return f"CASE WHEN {self.is_present(operand)} THEN {text} END"

    def compared(self, operand: str) -> str:
        """Write the operand as the equality takes it: cast, with its collation."""
        text = atom(operand)
        if self.cast is not None:
            text += f"::{self.cast}"
        if self.collation is not None:
            text += f" COLLATE {self.collation}"
        return f"({text})"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedKey:
    """A key in one database: what its columns are and how its rows compare."""

    #: name for people: the index's, the constraint's, or the columns
    name: str
    #: table whose rows are compared (a partitioned table: all its leaves)
    table_oid: int
    #: the key's columns, in their order
    columns: tuple[KeyColumn, ...]
    #: SQL predicate that a row must fulfil, or None
    where: str | None
    #: whether a row with a NULL in the key takes no part
    nulls_distinct: bool
    #: value of ``search_path`` that expressions and predicate are read under
    search_path: str
    #: text that is equal exactly when digest and equality mean the same
    definition: str
    #: the index that the key was read from, or None
    index_oid: int | None
    #: template of the hash of a bytea (bigint) over OPERAND and SEED
    bytes_hash: str

    @property
    def scattered(self) -> bool:
        """Whether the digest is a hash; otherwise it is the value's own eight bytes."""
        return self._exact is None

    @property
    def condition(self) -> str | None:
        """The predicate, unless it says only that columns of the key are not NULL.

        ``WHERE uri IS NOT NULL`` leaves out of an index on uri what its NULLs leave out
        anyway, so there is nothing to test. Only an index's predicate is looked at:
        the server wrote it, with every name quoted that could mean something else.
        """
        if self.where is None or self.index_oid is None or not self.nulls_distinct:
            return self.where
        said = {
            f"{column.unquoted} IS NOT NULL" for column in self.columns if not column.row_type
        }
        tests = self.where.strip("()").split(") AND (")
        return None if said.issuperset(tests) else self.where

    @property
    def _exact(self) -> str | None:
        """Template of the value's own bytes, where the whole key is one such value."""
        return self.columns[0].exact if self.nulls_distinct and len(self.columns) == 1 else None

    def digest(self, operands: Sequence[str]) -> str:
        """Write the digest: ``bytea`` of eight bytes, NULL iff a NULL keeps the row out.

        ``operands`` are SQL texts, one for each column: the expressions themselves
        or aliases of them.
        """
        if not self.nulls_distinct:
            return f"pg_catalog.int8send({self._hash_with_nulls(operands)})"
        if self._exact is not None:
            return self._exact.replace(OPERAND, atom(operands[0]))
        chained = "0"
        for column, operand in zip(self.columns, operands, strict=True):
            chained = column.hash_of(operand, chained)
        return f"pg_catalog.int8send({chained})"

    def _hash_with_nulls(self, operands: Sequence[str]) -> str:
        """Write a hash in which a NULL is a value of its own.

        A chain would have to write each seed twice (once for the value, once for
        its NULL) and would double with every column, so the columns are hashed
        apart and their bytes together; the place keeps (NULL, 5) from (5, NULL).
        """
        hashes = [
            null_marked(column.hash_of(operand, "0"))
            for column, operand in zip(self.columns, operands, strict=True)
        ]
        if len(hashes) == 1:
            return hashes[0]
        return together(hashes, self.bytes_hash, "0")

    def equal(self, left: Sequence[str], right: Sequence[str]) -> str:
        """Write the equality of two keys by the key's own operators: true or false."""
        tests = []
        for column, one, other in zip(self.columns, left, right, strict=True):
            test = f"{column.compared(one)} {column.equality} {column.compared(other)}"
            if not self.nulls_distinct:
                both = f"({column.is_null(one)} AND {column.is_null(other)})"
                test = f"coalesce({test}, {both})"
            tests.append(f"({test})")
        return f"(({' AND '.join(tests)}) IS TRUE)"

    def takes_part(self, operands: Sequence[str], predicate: str | None = None) -> str:
        """Write whether the key covers a row: true or false, never NULL.

        ``predicate`` is the predicate's SQL or an alias of it; None where the
        caller has tested it, or the key has none.
        """
        tests = []
        if self.nulls_distinct:
            tests += [
                column.is_present(operand)
                for column, operand in zip(self.columns, operands, strict=True)
            ]
        if predicate is not None:
            tests.append(f"{atom(predicate)} IS TRUE")
        return f"({' AND '.join(tests)})" if tests else "true"


def together(hashes: Sequence[str], bytes_hash: str, seed: str) -> str:
    """Write one bigint hash of several, none of which is NULL."""
    joined = f"pg_catalog.int8send({hashes[0]})"
    for value in hashes[1:]:
        joined = f"pg_catalog.byteacat({joined}, pg_catalog.int8send({value}))"
    return bytes_hash.replace(OPERAND, joined).replace(SEED, seed)


def null_marked(value: str) -> str:
    """Write a hash that is never NULL of one that is NULL for a NULL."""
    return f"coalesce({value}, pg_catalog.hashint4extended({_NULL_MARK}, 0))"
