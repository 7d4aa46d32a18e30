"""Follows what a pickle of ``torch.save`` would do, and does nothing of it: its names, and how much work it is.

torch's reader of pickles calls only functions that do no harm, but a pickle made by hand can give them endless work: a
dict whose keys are nested tuples takes twice the time with each level, and one codec takes hours for a long text. Here
each value on the pickle's stack is followed as a weight: the number of values that hashing or copying it visits.
Whoever makes a pickle can choose the hash of a number or a tuple, and where it goes in the table of a dict: with keys
that all go to the same place, reading takes the square of their number. So such keys are counted, too. Texts are not:
Python draws their hashes anew in each process (unless PYTHONHASHSEED is set).
"""

import pickle
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING

# The operations that torch reads of pickles. Of those that make a number, None or a boolean: the bytes that they take.
_NUMBERS = {
    **{operation[0]: 1 for operation in (pickle.NONE, pickle.NEWTRUE, pickle.NEWFALSE)},
    **{pickle.BININT1[0]: 2, pickle.BININT2[0]: 3, pickle.BININT[0]: 5, pickle.BINFLOAT[0]: 9},
}
_LENGTH_BYTES = {pickle.BINUNICODE: 4, pickle.SHORT_BINSTRING: 1, pickle.LONG1: 1}  # before the bytes themselves
_TUPLES = {pickle.TUPLE1: 1, pickle.TUPLE2: 2, pickle.TUPLE3: 3}
_BINGET, _LONG_BINGET = pickle.BINGET[0], pickle.LONG_BINGET[0]
_BINPUT, _LONG_BINPUT = pickle.BINPUT[0], pickle.LONG_BINPUT[0]
_MARK, _EMPTY_DICT, _STOP = pickle.MARK[0], pickle.EMPTY_DICT[0], pickle.STOP[0]
_OF_MARKED = frozenset(operation[0] for operation in (pickle.SETITEMS, pickle.APPENDS, pickle.TUPLE))

_MOST_NUMBER_KEYS = 2**15  # read in a second at worst; states of an optimizer have one for each parameter
_EQUAL_HASHES = 32  # a key that may have the same hash as any other takes the time of so many numbers, at least
_LARGEST_NUMBER = 8  # bytes; no more than nine such integers have the same hash
_CHARACTERS = 256  # of a text, that count as one value
_EMPTY_CONTAINER = 8  # an empty tuple, list or dict takes the memory of so many values
_GREATEST_WEIGHT = 2**40  # beyond any limit, so that weights stay small numbers
_ENCODE, _BYTEARRAY = "_codecs.encode", "builtins.bytearray"
_LATIN_1 = (b"latin1", b"latin-1")
_NOT_CALLED = ("torch.Tensor", "torch.storage.UntypedStorage")  # names of types; called, they take memory for a number
_REBUILD = "torch._utils._rebuild_"  # the beginning of the functions that make tensors
_REBUILD_FROM_TYPE = "torch._tensor._rebuild_from_type_v2"
_WITH_STATE = b"_with_state"
_PARAMETER = "torch.nn.parameter.Parameter"
_ORDERED_DICT = "collections.OrderedDict"
_KNOWN_MODULES = ("builtins", "collections", "torch", "_codecs")
_HASHING = ("builtins.set", "collections.Counter", _ORDERED_DICT)


def _makes_tensors(name: str) -> bool:
    return name.startswith(_REBUILD) or name in (_REBUILD_FROM_TYPE, _PARAMETER)


class _Value:
    """A value of a pickle: its weight, its text if it is a name or a text, and its items if it is a tuple.

    ``chosen`` counts those of it and of the keys in it whose hash the file can choose. A list or dict must be complete
    before it is put into another value, as pickle writes them, so that these figures hold.
    """

    __slots__ = ("chosen", "has_tensors", "is_inside", "is_name", "is_tensor", "items", "made_by", "text", "weight")

    def __init__(
        self,
        weight: int,
        text: bytes | None = None,
        is_name: bool = False,
        items: "list[_Value] | None" = None,
        made_by: str | None = None,
        chosen: int = 0,
    ) -> None:
        self.weight = min(weight, _GREATEST_WEIGHT)
        self.chosen = min(chosen, _GREATEST_WEIGHT)
        self.text = text
        self.is_name = is_name
        self.is_inside = False
        self.items = items
        self.made_by = made_by  # the function or class that was called for it
        self.is_tensor = made_by is not None and _makes_tensors(made_by)
        self.has_tensors = items is not None and any(item.is_tensor for item in items)  # in a tuple or list


_NUMBER = _Value(1, chosen=1)
_NUMBER.is_inside = True  # of all places where it is: nothing is put into it
_STORAGE = _REBUILD + "storage"  # no function, but what is made is a tensor without a shape
_GONE_THROUGH = "its pickle goes through the elements of a tensor"


def _weight(values: list[_Value]) -> int:
    return sum([value.weight for value in values])


def _chosen(values: list[_Value]) -> int:
    return sum([value.chosen for value in values])


class PickleScan:
    """One or several pickles that follow each other: the dotted names in them, and the work that they are."""

    def __init__(self, content: bytes, most_work: int) -> None:
        """Take the bytes, and the most operations, and the most values to visit, that they may have."""
        self.names: set[str] = set()
        self._content = content
        self._position = 0
        self._most_work = most_work
        self.uses = 0  # of names: the times that one is looked up, called, or given a state
        self._visited = 0
        self._chosen_keys = 0

    def follow(self) -> _Value:
        """Follow the next pickle, and return what it makes.

        Raises:
            ValueError: it is too much work, or calls what no pickle of torch calls.
            pickle.UnpicklingError: it has an operation that torch does not read.
            LookupError: it is cut, or takes more from its stack or its memo than there is.
        """
        content, position = self._content, self._position
        stack: list[_Value] = []
        marked: list[list[_Value]] = []
        memo: dict[int, _Value] = {}
        for _ in range(self._most_work):
            operation = content[position]
            if operation in _NUMBERS:
                stack.append(_NUMBER)
                position += _NUMBERS[operation]
            elif operation == _BINGET:
                stack.append(memo[content[position + 1]])
                position += 2
            elif operation == _LONG_BINGET:
                stack.append(memo[int.from_bytes(content[position + 1 : position + 5], "little")])
                position += 5
            elif operation == _BINPUT:
                memo[content[position + 1]] = stack[-1]
                position += 2
            elif operation == _LONG_BINPUT:
                memo[int.from_bytes(content[position + 1 : position + 5], "little")] = stack[-1]
                position += 5
            elif operation == _MARK:
                marked.append(stack)
                stack = []
                position += 1
            elif operation == _EMPTY_DICT:
                stack.append(self._container())
                position += 1
            elif operation in _OF_MARKED:
                items, stack = stack, marked.pop()
                self._gather(content[position : position + 1], stack, items)
                position += 1
            elif operation == _STOP:
                self._position = position + 1
                return stack[-1]
            else:
                position = self._follow_rarer(content[position : position + 1], position + 1, stack)
        raise self._too_much()

    def look_up(self, keys: _Value) -> None:
        """Follow that a list of keys is looked up in a dict. Raises ValueError: it is too much work, or no list."""
        if keys.text is not None or keys.is_tensor:
            raise ValueError("its last pickle is no list of keys")
        self._visit([keys])
        self._hash([keys])

    def _gather(self, operation: bytes, stack: list[_Value], items: list[_Value]) -> None:
        """Put values into the list or dict on the stack, or make a tuple of them."""
        for item in items:
            item.is_inside = True
        if operation in (pickle.SETITEM, pickle.SETITEMS):
            keys = items[::2]
            self._visit(keys)
            self._hash(keys)
        if operation in (pickle.TUPLE, *_TUPLES):
            stack.append(self._container(items))
        elif stack[-1].is_inside:
            raise ValueError("its pickle changes a list or dict that is part of another value")
        elif stack[-1].is_tensor:
            raise ValueError(_GONE_THROUGH)
        else:
            stack[-1].weight = min(stack[-1].weight + _weight(items), _GREATEST_WEIGHT)
            in_lists = operation in (pickle.APPEND, pickle.APPENDS)
            stack[-1].chosen = min(stack[-1].chosen + _chosen(items if in_lists else keys), _GREATEST_WEIGHT)
            if in_lists:
                stack[-1].has_tensors |= any(item.is_tensor for item in items)

    def _follow_rarer(self, operation: bytes, position: int, stack: list[_Value]) -> int:
        """Follow an operation of whose kind there are few, and return where the next one begins."""
        if operation in (pickle.SETITEM, pickle.APPEND, *_TUPLES):
            count = _TUPLES.get(operation, 1 if operation == pickle.APPEND else 2)
            items = [stack.pop() for _ in range(count)]
            self._gather(operation, stack, items[::-1])
        elif operation in (pickle.REDUCE, pickle.NEWOBJ):
            stack.append(self._call(stack.pop(), function=stack.pop()))
        elif operation in (pickle.BUILD, pickle.BINPERSID):
            state = stack.pop()
            if state.is_tensor or state.has_tensors:
                raise ValueError(_GONE_THROUGH)
            self._visit([state])
            if operation == pickle.BUILD:
                self._hash([state])
                _check_target(stack[-1])
                self.uses += 1
            else:
                _check_storage(state.items or [])
                stack.append(_Value(1, made_by=_STORAGE))
        elif operation in (pickle.EMPTY_LIST, pickle.EMPTY_TUPLE):
            stack.append(self._container([] if operation == pickle.EMPTY_TUPLE else None))
        elif operation in _LENGTH_BYTES:
            start = position + _LENGTH_BYTES[operation]
            length = int.from_bytes(self._content[position:start], "little")
            weight = 1 + length // _CHARACTERS
            if operation == pickle.LONG1:
                stack.append(_Value(weight, chosen=1 if length <= _LARGEST_NUMBER else _EQUAL_HASHES))
            else:
                stack.append(_Value(weight, self._content[start : start + min(length, _CHARACTERS)]))
            return start + length
        elif operation == pickle.GLOBAL:
            middle = self._content.index(b"\n", position)
            end = self._content.index(b"\n", middle + 1)
            name = _name_today(self._content[position:middle].decode(), self._content[middle + 1 : end].decode())
            self.names.add(name)
            self.uses += 1
            stack.append(_Value(1, name.encode(), is_name=True))
            return end + 1
        elif operation == pickle.PROTO:
            return position + 1
        else:
            raise pickle.UnpicklingError(f"unknown operation {operation!r}")
        return position

    def _call(self, arguments: _Value, function: _Value) -> _Value:
        """Return what a call of a function or class makes."""
        items = arguments.items
        if not function.is_name or function.text is None or items is None:
            raise ValueError("its pickle calls what is no function")
        name = function.text.decode()
        # As pickles write bytes; other codecs are slow, or look for modules, and bytearray takes memory for a number.
        of_latin_1 = len(items) == 2 and items[1].text in _LATIN_1
        of_bytes = len(items) == 1 and items[0].made_by == _ENCODE
        if items and not of_latin_1 and (name == _ENCODE or (name == _BYTEARRAY and not of_bytes)):
            raise ValueError("its pickle makes bytes of something else than a text of latin1")
        if name in _NOT_CALLED:
            raise ValueError(f"its pickle calls {name}, which makes values that are not stored")
        # What makes a tensor of others takes them as they are; anything else would go through their elements.
        if not _makes_tensors(name) and any(item.is_tensor or item.has_tensors for item in items):
            raise ValueError(_GONE_THROUGH)
        if name == _REBUILD_FROM_TYPE:
            inner = items[0].text if items and items[0].is_name else None
            if inner is None or not inner.startswith(_REBUILD.encode()) or inner.endswith(_WITH_STATE):
                raise ValueError("its pickle makes a tensor by what is no function for it")
            if items[2:] and items[2].items is None:
                raise ValueError("its pickle makes a tensor of what are no arguments")
        if name == _REBUILD_FROM_TYPE or name.encode().endswith(_WITH_STATE):
            _check_state(items[3:4])
        self._visit([arguments])
        self.uses += 1
        self._count(_EMPTY_CONTAINER)
        if name in _HASHING:
            if any(item.text is not None or item.made_by in (_ENCODE, _BYTEARRAY) for item in items):
                raise ValueError("its pickle makes a dict or set of the characters of a text")
            self._hash(items)
        return _Value(arguments.weight, made_by=name, chosen=0 if _makes_tensors(name) else arguments.chosen)

    def _visit(self, values: list[_Value]) -> None:
        """Count the values that are hashed, copied or given to a function, which visits all that is in them."""
        self._count(_weight(values) - len(values))

    def _hash(self, values: list[_Value]) -> None:
        """Count these values, which become keys or have keys in them, by what they may take to be found."""
        self._chosen_keys += _chosen(values)
        if self._chosen_keys > _MOST_NUMBER_KEYS:
            others = f"neither texts nor numbers of {_LARGEST_NUMBER} bytes ({_MOST_NUMBER_KEYS // _EQUAL_HASHES:,})"
            raise ValueError(f"its pickle has too many keys that are numbers ({_MOST_NUMBER_KEYS:,}), or {others}")

    def _container(self, items: list[_Value] | None = None) -> _Value:
        """Return a tuple of these items, or without any an empty list or dict; its memory counts."""
        self._count(_EMPTY_CONTAINER)
        if items is None:
            return _Value(1)
        return _Value(1 + _weight(items), items=items, chosen=_EQUAL_HASHES + _weight(items) + _chosen(items))

    def _count(self, values: int) -> None:
        self._visited += values
        if self._visited > self._most_work:
            raise self._too_much()

    def _too_much(self) -> ValueError:
        return ValueError(f"its pickle has more than {self._most_work:,} operations, or values to go through")


def _check_target(value: _Value) -> None:
    """Raise ValueError if a value takes no state: torch would call what an earlier state put in place of a method."""
    made_by = value.made_by or ""
    if made_by != _ORDERED_DICT and made_by.partition(".")[0] in ("", *_KNOWN_MODULES):
        raise ValueError("its pickle gives a state to what has none")


def _check_state(states: list[_Value]) -> None:
    """Raise ValueError if the state of a tensor is a tuple of other than two items: torch would print it."""
    if any(state.items is not None and len(state.items) != 2 for state in states):
        raise ValueError("its pickle gives a tensor a state that is none")


def _check_storage(items: list[_Value]) -> None:
    """Raise ValueError unless a storage's key, the third item, and that of a view of it, in the sixth, are texts.

    torch keeps the storages in dicts by these keys, and multiplies the size, the fifth item, which must be a number.
    """
    views = [view.items[0] for view in items[5:6] if view.items]
    if any(key.text is None for key in (*items[2:3], *views)):
        raise ValueError("its pickle has the key of a storage that is no text")
    if any(size.text is not None or size.items is not None or size.made_by is not None for size in items[4:5]):
        raise ValueError("its pickle has the size of a storage that is no number")


def _name_today(module: str, name: str) -> str:
    """Translate a name of Python 2, as torch's pickles have it: ``__builtin__ long`` becomes ``builtins.int``."""
    return ".".join(NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name)))
