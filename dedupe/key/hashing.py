"""Find, for a type and its equality, SQL that hashes equal values alike, to 64 bits.

The way through the catalogs is: the btree family's equality, a hash family with
the same operator, its extended function. Where that is not enough:

* Extended hashes of bigint, timestamps, time, xid8 and pg_lsn fold the value to 32
  bits first, so these go in as halves or as the bytes their type sends.
* Some functions cannot be called with the type itself (up to 17: bytea, timestamptz,
  date, xid8); an array of one element makes the server call them.
* bit, money and tsvector have no hash; they have bytes or text that agree.
* ``hashname`` and ``hashbpchar`` do not agree with nondeterministic collations
  (name ignores them, char(n) hashes its padding); text does.
* Arrays, row types and ranges over such types resolve in the catalogs and fail or
  fold at run time; they are taken apart.

Intervals, multiranges of 8-byte types and types with only the old 32-bit function
keep 32 bits: more candidates to confirm, never another answer.

Source: https://www.postgresql.org/docs/current/xindex.html#XINDEX-SUPPORT
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import QueryFailed, UnsupportedKeyType
from ..table import quoted
from .catalog import Catalog, Collation, Equality, Type
from .digest import OPERAND, SEED, null_marked, together

#: Types of eight (timetz: twelve) bytes that are equal exactly when their bytes are.
_SENT = {
    "timestamp": "timestamp_send",
    "timestamptz": "timestamptz_send",
    "time": "time_send",
    "timetz": "timetz_send",
    "money": "cash_send",
    "pg_lsn": "pg_lsn_send",
    "xid8": "xid8send",
}
#: Types without a hash that are equal exactly when their text is.
_BY_TEXT = {"bit", "varbit", "tsvector"}
#: Types whose hash function does not follow a nondeterministic collation.
_COLLATION_BLIND = {"name", "bpchar"}
_PSEUDO = {"anyarray", "anyenum", "anyrange", "anymultirange", "record"}

_BYTES = "pg_catalog.hash_array_extended(ARRAY[{}], {})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hash:
    """A template over OPERAND and SEED, and whether a NULL operand makes it NULL."""

    template: str
    strict: bool

    def of(self, operand: str, seed: str = SEED) -> str:
        """Fill the template; ``operand`` must be complete in itself."""
        return self.template.replace(OPERAND, operand).replace(SEED, seed)


def operand_cast(key_type: Type, declared: int, equality: Equality) -> str | None:
    """Return the type that an operand must be cast to before equality or hash see it.

    A domain becomes its base; citext under text's operator class becomes text.
    """
    if equality.input.builtin in _PSEUDO:
        return key_type.sql if declared != key_type.oid else None
    return equality.input.sql if declared != equality.input.oid else None


class Hasher:
    """Builds hashes for the types of one key; look-ups and probes go to the server.

    Works outside a transaction, because a probe may fail.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._probed: dict[int, bool] = {}
        self.bytes_hash = Hash(template=_BYTES.format(OPERAND, SEED), strict=False)
        bytea = catalog.type(17)
        default = catalog.default_class(bytea)
        equality = catalog.equality_of_class(default) if default else None
        for function in catalog.hash_functions(equality.operator) if equality else ():
            if function.support == 2 and function.argument.oid == bytea.oid:
                self.bytes_hash = Hash(template=f"{function.sql}({OPERAND}, {SEED})", strict=True)

    def exact(self, equality: Equality) -> str | None:
        """Return a template of eight bytes (bytea) that are the value itself, or None."""
        kind = self._kind(equality)
        value = f"{OPERAND}::{equality.input.sql}"
        if kind == "int8":
            return f"pg_catalog.int8send({value})"
        if kind in ("int2", "int4", "oid"):
            return f"pg_catalog.int8send({value}::pg_catalog.int8)"
        if kind == "date":
            # An infinite date cannot be subtracted from; its four bytes can be sent.
            return (
                f"pg_catalog.byteacat(pg_catalog.int4send(0), {_sent('date_send', value)})"
            )
        if kind in _SENT and kind != "timetz":
            return _sent(_SENT[kind], value)
        return None

    def hash(
        self, key_type: Type, equality: Equality, collation: Collation | None, column: str
    ) -> Hash:
        """Return the hash of a type under an equality and a collation.

        The operand is of ``key_type`` or of the equality's input type.
        Raises UnsupportedKeyType (``type``, ``column``) where no hash agrees.
        """
        kind = self._kind(equality)
        collate = f" COLLATE {collation.sql}" if collation else ""
        if kind == "int8":
            value = f"{OPERAND}::pg_catalog.int8"
            high = f"pg_catalog.int4(pg_catalog.int8shr({value}, 32))"
            low = f"pg_catalog.int4(pg_catalog.int8shr(pg_catalog.int8shl({value}, 32), 32))"
            inner = f"pg_catalog.hashint4extended({high}, {SEED})"
            return Hash(template=f"pg_catalog.hashint4extended({low}, {inner})", strict=True)
        if kind == "bool":
            value = f"{OPERAND}::pg_catalog.bool::pg_catalog.int4"
            return Hash(template=f"pg_catalog.hashint4extended({value}, {SEED})", strict=True)
        if kind in _SENT:
            return self._of_bytes(_sent(_SENT[kind], f"{OPERAND}::{equality.input.sql}"))
        if kind in _BY_TEXT:
            value = f'{OPERAND}::pg_catalog.text COLLATE pg_catalog."C"'
            return Hash(template=f"pg_catalog.hashtextextended({value}, {SEED})", strict=True)
        if kind in _COLLATION_BLIND and collation and not collation.deterministic:
            value = f"{OPERAND}::pg_catalog.text{collate}"
            return Hash(template=f"pg_catalog.hashtextextended({value}, {SEED})", strict=True)
        if kind == "anyarray":
            return self._of_array(key_type, collation, column)
        if equality.builtin and equality.input.builtin == "record":
            return self._of_row(key_type, equality, column)
        if kind in ("anyrange", "anymultirange"):
            return self._of_range(key_type, equality, column)
        return self._by_catalog(key_type, equality, collate, column)

    def _kind(self, equality: Equality) -> str:
        """Return the built-in type that a built-in ``=`` compares, else an empty string."""
        return equality.input.builtin if equality.builtin and equality.name == "=" else ""

    def _of_bytes(self, value: str) -> Hash:
        return Hash(template=self.bytes_hash.of(value), strict=self.bytes_hash.strict)

    def _by_catalog(self, key_type: Type, equality: Equality, collate: str, column: str) -> Hash:
        """Take the hash functions of the families that share the operator."""
        # A function over a pseudo-type may not see through a domain (anyenum does not).
        pseudo = equality.input.builtin in _PSEUDO
        given = f"{OPERAND}::{(key_type if pseudo else equality.input).sql}"
        functions = self._catalog.hash_functions(equality.operator)
        for function in functions:
            argument = function.argument
            if argument.oid == equality.input.oid or argument.builtin in _PSEUDO:
                value = f"{given}{collate}"
            elif self._catalog.same_bits(equality.input, argument):
                value = f"{given}::{argument.sql}{collate}"
            else:
                continue
            if function.support == 2:
                return Hash(template=f"{function.sql}({value}, {SEED})", strict=True)
            short = f"{function.sql}({value})"
            return Hash(template=f"pg_catalog.hashint4extended({short}, {SEED})", strict=True)
        if functions:
            default = self._default_equality(equality.input)
            same = default is not None and default.operator == equality.operator
            if same and self._hashable(equality.input):
                return Hash(template=_BYTES.format(f"{given}{collate}", SEED), strict=False)
        raise self._refusal(key_type, column)

    def _of_array(self, key_type: Type, collation: Collation | None, column: str) -> Hash:
        element = self._catalog.type(key_type.element)
        equality = self._default_equality(element)
        if equality is None:
            raise self._refusal(key_type, column, f"its elements, {element.display}, have no order")
        kind = self._kind(equality)
        if kind == "int8" or kind in _SENT or kind in _BY_TEXT:
            # Bytes 4 to 7 say whether a NULL bitmap is there, which an array may
            # keep after its last NULL is gone; the elements say it again.
            sent = f"pg_catalog.array_send({OPERAND})"
            return self._of_bytes(f"pg_catalog.set_byte({sent}, 7, 0)")
        value = OPERAND
        if kind in _COLLATION_BLIND and collation and not collation.deterministic:
            value += "::pg_catalog.text[]"
        elif not self._hashable(element):
            raise self._refusal(key_type, column, f"its elements, {element.display}, have no hash")
        if collation is not None:
            value += f" COLLATE {collation.sql}"
        return Hash(template=f"pg_catalog.hash_array_extended({value}, {SEED})", strict=True)

    def _of_row(self, key_type: Type, equality: Equality, column: str) -> Hash:
        if not key_type.relation:
            raise self._refusal(key_type, column, "its fields have no names; list them one by one")
        fields = self._catalog.fields(key_type)
        if equality.name == "*=":
            if not all(self._catalog.type(field.type).sends for field in fields):
                raise self._refusal(key_type, column, "a field has no binary form")
            return self._of_bytes(f"pg_catalog.record_send({OPERAND})")
        if equality.name != "=":
            raise self._refusal(key_type, column)
        hashes = []
        for field in fields:
            field_type = self._catalog.type(field.type)
            field_equality = self._default_equality(field_type)
            if field_equality is None:
                raise self._refusal(
                    key_type, column, f"its field {field.name}, {field_type.display}, has no order"
                )
            value = f"({OPERAND}).{quoted(field.name)}"
            cast = operand_cast(field_type, field.type, field_equality)
            inner = self.hash(
                field_type,
                field_equality,
                self._catalog.collation(field.collation),
                f"{column}.{field.name}",
            )
            text = inner.of(f"({value}::{cast})" if cast else f"({value})", "0")
            if not inner.strict:
                # Not IS NULL, which asks a row type about its fields.
                present = f"pg_catalog.num_nulls({value}) OPERATOR(pg_catalog.=) 0"
                text = f"CASE WHEN {present} THEN {text} END"
            hashes.append(null_marked(text))
        joined = together(hashes or ["0"], self.bytes_hash.template, SEED)
        return Hash(template=joined, strict=False)

    def _of_range(self, key_type: Type, equality: Equality, column: str) -> Hash:
        subtype = self._catalog.type(key_type.subtype)
        bound = self._catalog.equality_of_class(key_type.subtype_class)
        default = self._default_equality(subtype)
        collation = self._catalog.collation(key_type.subtype_collation)
        same = bound is not None and default is not None and bound.operator == default.operator
        kind = self._kind(bound) if bound is not None else ""
        blind = collation and not collation.deterministic and kind in _COLLATION_BLIND
        if not same or blind or not self._hashable(key_type):
            raise self._refusal(key_type, column, f"its bounds, {subtype.display}, have no hash")
        plain = self._by_catalog(key_type, equality, "", column)
        if key_type.kind != "r" or bound is None or (kind != "int8" and kind not in _SENT):
            return plain
        # The range's own hash folds such bounds to 32 bits: their bytes make the seed.
        send = _SENT.get(kind, "int8send")
        bounds = [
            _sent(send, f"pg_catalog.{side}({OPERAND})::{bound.input.sql}")
            for side in ("lower", "upper")
        ]
        return Hash(template=plain.of(OPERAND, _BYTES.format(", ".join(bounds), SEED)), strict=True)

    def _default_equality(self, key_type: Type) -> Equality | None:
        found = self._catalog.default_class(key_type)
        return self._catalog.equality_of_class(found) if found is not None else None

    def _hashable(self, key_type: Type) -> bool:
        """Ask the server whether its own hashing of arrays knows the type.

        It looks through arrays, row types, ranges and domains, and takes a hash
        only where it agrees with the type's default equality.
        """
        if key_type.oid not in self._probed:
            try:
                self._catalog.session.rows("SELECT " + _BYTES.format(f"NULL::{key_type.sql}", "0"))
                self._probed[key_type.oid] = True
            except QueryFailed as error:
                if error.sqlstate not in ("42883", "42804"):
                    raise
                self._probed[key_type.oid] = False
        return self._probed[key_type.oid]

    def _refusal(self, key_type: Type, column: str, reason: str = "") -> UnsupportedKeyType:
        why = f" ({reason})" if reason else ""
        return UnsupportedKeyType(
            f"column {column}: there is no hash that agrees with the equality of type"
            f" {key_type.display}{why}",
            hint="Give an expression of another type that is equal exactly when the value is,"
            " for example of text.",
            type=key_type.display,
            column=column,
        )


def _sent(function: str, value: str) -> str:
    return f"pg_catalog.{function}({value})"
