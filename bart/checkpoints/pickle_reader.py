"""Reads the pickles of ``torch.save``: tensors, numbers, texts and plain containers. Nothing is imported or run.

A pickle is a program of a stack machine (the module pickletools of Python describes it). Of its operations those that
torch writes are followed here, and of the functions that it may call there are those that make the values above.

A pickle made by hand cannot make this take long, or much memory: each operation does a bounded piece of work, or is
counted by its size. Whoever makes a pickle can choose the hash of a number, and where it goes in the table of a dict:
with keys that all go to the same place, reading takes the square of their number. So such keys are counted, too. Texts
are not: Python draws their hashes anew in each process (unless PYTHONHASHSEED is set).
"""

import math
import pickle
import struct
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

_BYTE, _LONG = struct.Struct("<xB"), struct.Struct("<xI")  # numbers behind the byte of an operation
_CONSTANTS = {pickle.NONE[0]: None, pickle.NEWTRUE[0]: True, pickle.NEWFALSE[0]: False}
_NUMBERS = {
    pickle.BININT1[0]: _BYTE,
    pickle.BININT2[0]: struct.Struct("<xH"),
    pickle.BININT[0]: struct.Struct("<xi"),
    pickle.BINFLOAT[0]: struct.Struct(">xd"),
}
_FROM_MEMO = {pickle.BINGET[0]: _BYTE, pickle.LONG_BINGET[0]: _LONG}
_TO_MEMO = {pickle.BINPUT[0]: _BYTE, pickle.LONG_BINPUT[0]: _LONG}
_LENGTHS = {pickle.BINUNICODE[0]: _LONG, pickle.SHORT_BINSTRING[0]: _BYTE, pickle.LONG1[0]: _BYTE}
_TUPLES = {pickle.EMPTY_TUPLE[0]: 0, pickle.TUPLE1[0]: 1, pickle.TUPLE2[0]: 2, pickle.TUPLE3[0]: 3}
_MARK, _STOP, _PROTO, _GLOBAL = pickle.MARK[0], pickle.STOP[0], pickle.PROTO[0], pickle.GLOBAL[0]
_EMPTY_DICT, _EMPTY_LIST, _TUPLE = pickle.EMPTY_DICT[0], pickle.EMPTY_LIST[0], pickle.TUPLE[0]
_SETITEM, _SETITEMS, _APPEND, _APPENDS = pickle.SETITEM[0], pickle.SETITEMS[0], pickle.APPEND[0], pickle.APPENDS[0]
_CALLS = (pickle.REDUCE[0], pickle.NEWOBJ[0])
_LONG1 = pickle.LONG1[0]
_BUILD, _BINPERSID = pickle.BUILD[0], pickle.BINPERSID[0]

_MOST_NUMBER_KEYS = 2**15  # read in a second at worst; states of an optimizer have one for each parameter
_LARGEST_KEY = 2**63  # no more than some forty numbers below this have the same hash
_LONGEST_NAME = 2**10  # bytes of a class or function with its module
_LONGEST_KEY = 2**12  # characters; equal ones take their length to compare
_BYTES_PER_VALUE = 16  # of bytes that are made: they count as so many operations
_WORK_OF_VALUE = 8  # a tuple, list, dict or tensor, or what a call makes, takes the memory of so many operations
_MOST_DIMENSIONS = 64  # as torch
_MOST_DEVICES = 128  # torch makes another one of a larger number
_MOST_VALUES = 2**48  # of a dimension: more than any memory has, and what torch calculates with them has 64 bits
_MOST_ELEMENTS = 2**63
_DEEPEST = 50  # containers within each other

_CONTAINERS = (dict, list, tuple)
_STORAGES = {
    "torch.DoubleStorage": torch.float64,
    "torch.FloatStorage": torch.float32,
    "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16,
    "torch.LongStorage": torch.int64,
    "torch.IntStorage": torch.int32,
    "torch.ShortStorage": torch.int16,
    "torch.CharStorage": torch.int8,
    "torch.ByteStorage": torch.uint8,
    "torch.BoolStorage": torch.bool,
    "torch.ComplexFloatStorage": torch.complex64,
    "torch.ComplexDoubleStorage": torch.complex128,
    "torch.storage.UntypedStorage": torch.uint8,
}
_DTYPES = {str(value): value for value in vars(torch).values() if isinstance(value, torch.dtype)}
# Quantized values mean nothing without a scale, which no plain tensor has. Torch warns when one of these is made.
_NOT_MADE = ("torch.q", "torch.complex32")
_REBUILD = "torch._utils._rebuild_"
_TENSOR_TYPES = ("torch.Tensor", "torch.nn.parameter.Parameter")
_CALLED = {
    f"{_REBUILD}tensor",
    f"{_REBUILD}tensor_v2",
    f"{_REBUILD}tensor_v3",
    f"{_REBUILD}parameter",
    f"{_REBUILD}parameter_with_state",
    "torch._tensor._rebuild_from_type_v2",
    "torch.Size",
    "torch.device",
    "_codecs.encode",
    "builtins.bytearray",
    "builtins.complex",
    "builtins.set",
    "collections.Counter",
    "collections.OrderedDict",
}
_KNOWN_NAMES = _CALLED.union(_STORAGES, _TENSOR_TYPES)


class ForbiddenNameError(Exception):
    """A pickle names a class or function that makes no plain value: the one argument."""


class Unknown:
    """Stands in for an object of a class that is not known here: it keeps the attributes, and runs nothing."""

    __slots__ = ("attributes",)

    def __init__(self) -> None:
        """Make an object without attributes."""
        self.attributes: dict[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Name:
    """The name of a class or function in a pickle."""

    text: str


@dataclass(frozen=True, slots=True)
class Storage:
    """The values of one or several tensors, in a pickle."""

    values: torch.UntypedStorage
    dtype: torch.dtype


class PickleReader:
    """One or several pickles that follow each other."""

    def __init__(
        self,
        content: bytes,
        most_work: int,
        open_storage: Callable[[str, int, torch.dtype], torch.UntypedStorage],
        keep_objects: bool = False,
    ) -> None:
        """Take the pickles, and how to get at what is stored beside them.

        Args:
            content: their bytes.
            most_work: the operations that they may have, and as many values that they may make of others.
            open_storage: returns the stored values of a key, which are so many of this type.
            keep_objects: make objects of classes that are neither torch's nor known here ``Unknown`` ones.
        """
        self._content = content
        self.position = 0  # of the next pickle
        self._most_work = most_work
        self._operations_left = most_work
        self._open_storage = open_storage
        self._keep_objects = keep_objects
        self._unknown: list[Unknown] = []
        self._counted = 0
        self._number_keys = 0

    def read(self) -> Any:
        """Return the value of the next pickle. Dicts of all kinds become plain ones, and parameters plain tensors.

        Raises:
            ForbiddenNameError: it names what makes no plain value.
            pickle.UnpicklingError: it has an operation that torch does not write.
            ValueError: it is damaged, or too much work, or makes a value in another way than torch does.
            RuntimeError: torch cannot make a tensor or a device of it.
        """
        try:
            return self._read()
        except (LookupError, struct.error) as error:  # it is cut, or takes more from its stack or memo than there is
            raise ValueError("its pickle is damaged") from error

    def _read(self) -> Any:
        content, position = self._content, self.position
        stack: list[Any] = []
        marked: list[list[Any]] = []
        memo: list[Any] = []
        for done in range(self._operations_left):
            operation = content[position]
            if operation in _FROM_MEMO:
                number = _FROM_MEMO[operation]
                stack.append(memo[number.unpack_from(content, position)[0]])
                position += number.size
            elif operation in _TO_MEMO:
                number = _TO_MEMO[operation]
                _keep(memo, number.unpack_from(content, position)[0], stack[-1])
                position += number.size
            elif operation in _NUMBERS:
                number = _NUMBERS[operation]
                stack.append(number.unpack_from(content, position)[0])
                position += number.size
            elif operation in _LENGTHS:
                number = _LENGTHS[operation]
                start = position + number.size
                position = start + number.unpack_from(content, position)[0]
                part = content[start:position]
                if len(part) < position - start:
                    raise ValueError("its pickle is damaged")
                if operation == _LONG1:
                    stack.append(int.from_bytes(part, "little", signed=True))
                else:
                    stack.append(part.decode("utf-8", "surrogatepass"))  # as in the name of a file that is not UTF-8
            elif operation in _CONSTANTS:
                stack.append(_CONSTANTS[operation])
                position += 1
            elif operation == _MARK:
                marked.append(stack)
                stack = []
                position += 1
            elif operation in (_SETITEMS, _APPENDS, _TUPLE):
                items, stack = stack, marked.pop()
                if operation == _SETITEMS:
                    self._set_items(stack[-1], items)
                elif operation == _APPENDS:
                    _extend(stack[-1], items)
                else:
                    stack.append(self._counted_value(tuple(items)))
                position += 1
            elif operation == _STOP:
                self.position = position + 1
                self._operations_left -= done + 1
                self._check_size(stack[-1])
                return stack[-1]
            elif operation == _GLOBAL:
                lines = content[position + 1 : position + 1 + _LONGEST_NAME].split(b"\n", 2)
                if len(lines) < 3:
                    raise ValueError("its pickle is damaged")
                stack.append(self._named(lines[0].decode(), lines[1].decode()))
                position += len(lines[0]) + len(lines[1]) + 3
            elif operation == _PROTO:
                position += 2
            else:
                self._follow_one_byte(operation, stack)
                position += 1
        raise self._too_much()

    def _follow_one_byte(self, operation: int, stack: list[Any]) -> None:
        """Follow an operation of one byte that changes the stack."""
        if operation == _EMPTY_DICT:
            stack.append(self._counted_value({}))
        elif operation == _EMPTY_LIST:
            stack.append(self._counted_value([]))
        elif operation in _TUPLES:
            items = [stack.pop() for _ in range(_TUPLES[operation])]
            stack.append(self._counted_value(tuple(items[::-1])))
        elif operation == _SETITEM:
            value, key = stack.pop(), stack.pop()
            self._set_items(stack[-1], [key, value])
        elif operation == _APPEND:
            value = stack.pop()
            _extend(stack[-1], [value])
        elif operation in _CALLS:
            arguments, function = stack.pop(), stack.pop()
            stack.append(self._counted_value(self._call(function, arguments)))
        elif operation == _BUILD:
            state = stack.pop()
            self._give_state(stack[-1], state)
        elif operation == _BINPERSID:
            stack.append(self._counted_value(self._storage(stack.pop())))
        else:
            raise pickle.UnpicklingError(f"unknown operation {operation}")

    def _named(self, module: str, name: str) -> Any:
        """Return the dtype of this name, or what stands for another name, in today's Python."""
        today = ".".join(NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name)))
        if today in _DTYPES:
            return _DTYPES[today]
        if today not in _KNOWN_NAMES and (not self._keep_objects or today.startswith("torch.")):
            raise ForbiddenNameError(today)
        return Name(today)

    def _call(self, function: Any, arguments: Any) -> Any:
        """Return what a call of a function or class makes."""
        if not isinstance(function, Name) or type(arguments) is not tuple:
            raise ValueError("its pickle calls what is no function")
        self._count(len(arguments))
        for argument in arguments:
            if isinstance(argument, (str, bytes)):
                self._count(len(argument) // _BYTES_PER_VALUE)
            elif isinstance(argument, (list, tuple, dict)):
                self._count(len(argument))
        name = function.text
        match name.removeprefix(_REBUILD), arguments:
            case "tensor", (Storage() as storage, offset, tuple(size), tuple(stride)):
                return _make_tensor(storage, storage.dtype, offset, size, stride)
            case "tensor_v2", (Storage() as storage, offset, tuple(size), tuple(stride), _, _):
                return _make_tensor(storage, storage.dtype, offset, size, stride)
            case "tensor_v3", (Storage() as storage, offset, tuple(size), tuple(stride), _, _, torch.dtype() as dtype):
                if not str(dtype).startswith(_NOT_MADE):
                    return _make_tensor(storage, dtype, offset, size, stride)
            case "parameter", (Tensor() as tensor, _, _):
                return tensor
            case "parameter_with_state", (Tensor() as tensor, _, _, _):
                return tensor
            case "torch.nn.parameter.Parameter", (Tensor() as tensor, _):
                return tensor
            case "torch._tensor._rebuild_from_type_v2", (Name() as rebuild, Name(kind), tuple(inner), _):
                if rebuild.text.startswith(_REBUILD) and kind in _TENSOR_TYPES:
                    return self._call(rebuild, inner)
            case "torch.Size", ((list() | tuple()) as size,) if _are_sizes(size):
                return torch.Size(size)
            case "torch.device", (str(kind),) if ":" not in kind:
                return torch.device(kind)
            case "torch.device", (str(kind), int(index)) if ":" not in kind and 0 <= index < _MOST_DEVICES:
                return torch.device(f"{kind}:{index:d}")
            case "_codecs.encode" | "builtins.bytearray", (str(text), "latin1" | "latin-1"):
                made = text.encode("latin1")
                return made if name == "_codecs.encode" else bytearray(made)
            case "builtins.bytearray", (bytes(),) | ():
                return bytearray(*arguments)
            case "builtins.complex", (float(), float()):
                return complex(*arguments)
            case "builtins.set", (list(items),):
                return set(self._checked_keys(items))
            case "collections.Counter", (dict(items),):
                return self._fill({}, list(items), items.values())
            case "collections.OrderedDict", (list(items),):
                if all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in items):
                    return self._fill({}, [key for key, _ in items], [value for _, value in items])
            case "collections.OrderedDict" | "collections.Counter", ():
                return {}
        if name in _KNOWN_NAMES:
            raise ValueError(f"its pickle calls {name} in another way than torch does")
        self._unknown.append(Unknown())
        return self._unknown[-1]

    def _storage(self, reference: Any) -> Storage:
        """Return the stored values that a pickle refers to."""
        match reference:
            case ("storage", Name(name), str(key), str(), int(size), *views) if views in ([], [None]):
                dtype = _STORAGES.get(name)
                if dtype is not None and 0 <= size < _MOST_VALUES:
                    values = self._open_storage(key, size, dtype)
                    if size * dtype.itemsize <= values.nbytes():
                        return Storage(values, dtype)
        raise ValueError("its pickle refers to values that are not stored")

    def _set_items(self, target: Any, items: list[Any]) -> None:
        """Put keys and values, in turn, into a dict; those of an unknown object are dropped."""
        if isinstance(target, Unknown):
            return
        if not isinstance(target, dict):
            raise ValueError("its pickle gives keys to what is no dict")
        if len(items) % 2 != 0:
            raise ValueError("its pickle is damaged")
        self._fill(target, items[::2], items[1::2])

    def _fill(self, target: dict[Any, Any], keys: list[Any], values: Iterable[Any]) -> dict[Any, Any]:
        """Put values under keys into a dict, and return it."""
        target.update(zip(self._checked_keys(keys), values, strict=True))
        return target

    def _give_state(self, target: Any, state: Any) -> None:
        """Give attributes to an unknown object; those of a dict are dropped."""
        if isinstance(target, Unknown):
            if isinstance(state, dict):
                self._count(len(state))
                self._fill(target.attributes, list(state), state.values())
        elif not isinstance(target, dict):
            raise ValueError("its pickle gives a state to what has none")

    def _checked_keys(self, keys: list[Any]) -> list[Any]:
        """Return the keys of a dict, or items of a set. Raises ValueError if they may take long, or are none."""
        for key in keys:
            if isinstance(key, str):
                if len(key) > _LONGEST_KEY:
                    raise ValueError(f"its pickle has a key of more than {_LONGEST_KEY:,} characters")
            else:
                is_number = key is None or isinstance(key, float)
                if not is_number and not (isinstance(key, int) and -_LARGEST_KEY <= key < _LARGEST_KEY):
                    raise ValueError("its pickle has a key that is neither a text nor a number of 8 bytes")
                self._number_keys += 1
        if self._number_keys > _MOST_NUMBER_KEYS:
            raise ValueError(f"its pickle has more than {_MOST_NUMBER_KEYS:,} keys that are numbers")
        return keys

    def _counted_value(self, value: Any) -> Any:
        """Count a value that takes memory, and return it."""
        self._count(_WORK_OF_VALUE)
        return value

    def _count(self, work: int) -> None:
        self._counted += work
        if self._counted > self._most_work:
            raise self._too_much()

    def _too_much(self) -> ValueError:
        return ValueError(f"its pickle has more than {self._most_work:,} operations, or makes more values")

    def _check_size(self, value: Any) -> None:
        """Raise ValueError if going through the value, or the attributes of an unknown object so far, may never end.

        A container that is in several places counts in each of them.
        """
        sizes: dict[int, tuple[int, int]] = {}  # by the id of a container: the values in it, and the levels of them
        entered: set[int] = set()
        for root in (value, *(unknown.attributes for unknown in self._unknown)):
            pending = [root] if isinstance(root, _CONTAINERS) else []
            while pending:
                container = pending[-1]
                if id(container) in sizes:
                    pending.pop()
                    continue
                values = container.values() if isinstance(container, dict) else container
                inner = [value for value in values if isinstance(value, _CONTAINERS)]
                missing = [value for value in inner if id(value) not in sizes]
                if not missing:
                    within = [sizes[id(value)] for value in inner]
                    count = len(container) + sum(values for values, _ in within)
                    levels = 1 + max((levels for _, levels in within), default=0)
                    if levels > _DEEPEST:
                        raise ValueError(f"its pickle makes lists or dicts of more than {_DEEPEST} levels")
                    if count > self._most_work:
                        raise self._too_much()
                    sizes[id(container)] = count, levels
                elif id(container) in entered:
                    raise ValueError("its pickle makes a list or dict that is within itself")
                else:
                    entered.add(id(container))
                    pending.extend(missing)


def _keep(memo: list[Any], place: int, value: Any) -> None:
    """Put a value into the memo: at the next place, or one that it has.

    Python 2 left out the first place; it gets the value of the second, as a list has no gaps.
    """
    if place < len(memo):
        memo[place] = value
    elif place <= len(memo) + 1:
        memo.extend([value] * (place + 1 - len(memo)))
    else:
        raise ValueError("its pickle numbers its values otherwise than torch does")


def _are_sizes(numbers: Iterable[Any]) -> bool:
    return all(type(number) is int and 0 <= number < _MOST_VALUES for number in numbers)


def _make_tensor(storage: Storage, dtype: torch.dtype, offset: Any, size: Any, stride: Any) -> Tensor:
    """Return a tensor that has its values in a storage. Raises ValueError if they are beyond its end."""
    if not _are_sizes([offset, *size, *stride]) or len(size) != len(stride) or len(size) > _MOST_DIMENSIONS:
        raise ValueError("its pickle makes a tensor of what are no sizes")
    is_empty = 0 in size
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    if math.prod(size) >= _MOST_ELEMENTS or (not is_empty and last >= storage.values.nbytes() // dtype.itemsize):
        raise ValueError("its pickle makes a tensor of more values than are stored")
    return torch.empty(0, dtype=dtype).set_(storage.values, 0 if is_empty else offset, size, stride)


def _extend(target: Any, items: list[Any]) -> None:
    """Put items into a list; those of an unknown object are dropped."""
    if isinstance(target, list):
        target.extend(items)
    elif not isinstance(target, Unknown):
        raise ValueError("its pickle gives items to what is no list")
