"""A reader of little-endian ELF files: sections, symbols, relocations; nothing else.

Enough for the sizes of an image, the addresses the emulator needs and the call graph of an
object. Source: System V ABI, chapter 4 (object files), 32 and 64 bits.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from isthmus.errors import BuildError

__all__ = ["ElfFile", "Relocation", "Section", "Symbol"]

SHT_RELA, SHT_NOBITS, SHT_REL, SHT_SYMTAB = 4, 8, 9, 2
SHF_WRITE, SHF_ALLOC, SHF_EXECINSTR = 1, 2, 4
STT_OBJECT, STT_FUNC, STT_SECTION = 1, 2, 3
SHN_UNDEF, SHN_LORESERVE = 0, 0xFF00


@dataclass(frozen=True)
class Section:
    """One section header; ``size`` in bytes."""

    index: int
    name: str
    kind: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    entry_size: int


@dataclass(frozen=True)
class Symbol:
    """One symbol; ``section`` is 0 where it is defined elsewhere."""

    name: str
    value: int
    size: int
    kind: int
    is_global: bool
    section: int


@dataclass(frozen=True)
class Relocation:
    """Section ``section`` refers to ``symbol``."""

    section: int
    symbol: Symbol


class ElfFile:
    """The parsed file. Raises BuildError where it is no little-endian ELF file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._data = path.read_bytes()
        if self._data[:4] != b"\x7fELF" or len(self._data) < 52 or self._data[5] != 1:
            raise BuildError(str(path), "is not a little-endian ELF file")
        self.bits = 64 if self._data[4] == 2 else 32
        self.sections = self._read_sections()
        self.symbols = self._read_symbols()
        self._by_name = {s.name: s for s in self.symbols if s.name and s.section != SHN_UNDEF}

    @staticmethod
    def is_elf(path: Path) -> bool:
        """True where the file starts as an ELF file does."""
        with path.open("rb") as stream:
            return stream.read(4) == b"\x7fELF"

    def symbol(self, name: str) -> Symbol:
        """The defined symbol of that name; raises BuildError where there is none."""
        found = self._by_name.get(name)
        if found is None:
            raise BuildError(str(self.path), f"has no symbol {name}")
        return found

    def has_symbol(self, name: str) -> bool:
        """Whether ``name`` is defined."""
        return name in self._by_name

    def bytes_at(self, name: str) -> bytes:
        """The initial bytes of the object ``name``."""
        symbol = self.symbol(name)
        section = self.sections[symbol.section]
        start = section.offset + symbol.value - section.address
        return self._data[start : start + symbol.size]

    def loaded_bytes(self) -> int:
        """Bytes that flash holds: code, constants and initial values."""
        return sum(
            section.size
            for section in self.sections
            if section.flags & SHF_ALLOC and section.kind != SHT_NOBITS
        )

    def written_bytes(self) -> int:
        """Bytes of variables (.data and .bss); constants that only a loader writes are left out."""
        return sum(
            section.size
            for section in self.sections
            if section.flags & SHF_ALLOC
            and section.flags & SHF_WRITE
            and not section.name.startswith(".data.rel.ro")
        )

    def constant_bytes(self) -> int:
        """Bytes of the named constants that flash holds; initial values of variables are none."""
        return sum(
            symbol.size
            for symbol in self.symbols
            if symbol.kind == STT_OBJECT
            and symbol.section
            and self.sections[symbol.section].flags & SHF_ALLOC
            and not self.sections[symbol.section].flags & SHF_WRITE
        )

    def image(self) -> list[tuple[int, int, bytes]]:
        """Address, size in memory and initial bytes of every allocated section."""
        found = []
        for section in self.sections:
            if section.flags & SHF_ALLOC and section.size:
                data = b""
                if section.kind != SHT_NOBITS:
                    data = self._data[section.offset : section.offset + section.size]
                found.append((section.address, section.size, data))
        return found

    def function_at(self, address: int) -> str:
        """The function that holds ``address``, or the address itself in hexadecimal."""
        for symbol in self.symbols:
            start = symbol.value & ~1
            if symbol.kind == STT_FUNC and start <= address < start + symbol.size:
                return symbol.name
        return hex(address)

    def relocations(self) -> list[Relocation]:
        """Every relocation of the allocated sections."""
        found = []
        for section in self.sections:
            if section.kind not in (SHT_REL, SHT_RELA):
                continue
            if not self.sections[section.info].flags & SHF_ALLOC:
                continue
            for at in range(section.offset, section.offset + section.size, section.entry_size):
                if self.bits == 32:
                    index = struct.unpack_from("<I", self._data, at + 4)[0] >> 8
                else:
                    index = struct.unpack_from("<Q", self._data, at + 8)[0] >> 32
                if index:
                    found.append(Relocation(section.info, self.symbols[index]))
        return found

    def _read_sections(self) -> list[Section]:
        if self.bits == 32:
            (table,) = struct.unpack_from("<I", self._data, 32)
            entry, count, names = struct.unpack_from("<3H", self._data, 46)
            layout = "<10I"
        else:
            (table,) = struct.unpack_from("<Q", self._data, 40)
            entry, count, names = struct.unpack_from("<3H", self._data, 58)
            layout = "<2I4Q2I2Q"
        rows = [struct.unpack_from(layout, self._data, table + i * entry) for i in range(count)]
        strings = rows[names][4] if rows else 0
        return [
            Section(
                index=i,
                name=self._string(strings + row[0]),
                kind=row[1],
                flags=row[2],
                address=row[3],
                offset=row[4],
                size=row[5],
                link=row[6],
                info=row[7],
                entry_size=row[9],
            )
            for i, row in enumerate(rows)
        ]

    def _read_symbols(self) -> list[Symbol]:
        table = next((s for s in self.sections if s.kind == SHT_SYMTAB), None)
        if table is None:
            return []
        strings = self.sections[table.link].offset
        found = []
        for at in range(table.offset, table.offset + table.size, table.entry_size):
            if self.bits == 32:
                name, value, size, info, _, section = struct.unpack_from("<3I2BH", self._data, at)
            else:
                name, info, _, section, value, size = struct.unpack_from("<I2BH2Q", self._data, at)
            found.append(
                Symbol(
                    name=self._string(strings + name),
                    value=value,
                    size=size,
                    kind=info & 15,
                    is_global=info >> 4 != 0,
                    section=section if section < SHN_LORESERVE else SHN_UNDEF,
                )
            )
        return found

    def _string(self, at: int) -> str:
        return self._data[at : self._data.index(b"\0", at)].decode("utf-8", "replace")
