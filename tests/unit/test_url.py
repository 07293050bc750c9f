"""The grammar of a HOST: what it takes, what it refuses, and escapes both ways."""

import contextlib
from urllib.parse import quote

import pytest
from hypothesis import given, strategies as st

from rumpci.errors import BadURL, HostRefused, RumpciError
from rumpci.host import Address, Feature
from rumpci.hosts import open_host
from rumpci.hosts.keys import parse_size, scatter_seed
from rumpci.hosts.url import DeviceSpec, parse
from rumpci.machines.qemu.devices import device_arguments, quote as qemu_quote

text = st.text(st.characters(exclude_characters="\0", codec="utf-8"))
names = st.from_regex(r"[a-z][a-z0-9_-]*", fullmatch=True)
props = st.dictionaries(names, text, max_size=3)
specs = st.lists(st.builds(DeviceSpec, names, props), min_size=1, max_size=3)


def devices(url: str) -> list[DeviceSpec]:
    return parse(url).devices()


def written(spec: DeviceSpec) -> str:
    """A spec as a URL's part, everything odd percent-encoded."""
    return ",".join([spec.name, *(f"{key}={quote(v, safe='')}" for key, v in spec.props.items())])


def escaped(value: str) -> str:
    """A value with commas doubled, as QEMU has it, and what ends a part percent-encoded."""
    for char in "%+?":
        value = value.replace(char, quote(char))
    return value.replace(",", ",,")


@pytest.mark.parametrize(
    ("url", "scheme", "place", "params"),
    [
        ("qemu:edu", "qemu", "edu", {}),
        ("qemu:edu+nvme?memory=1G&trace=/a", "qemu", "edu+nvme", {"memory": "1G", "trace": "/a"}),
        ("vfio:0000:00:04.0", "vfio", "0000:00:04.0", {}),
        ("pci4:/run/x", "pci4", "/run/x", {}),
        ("qemu:edu?", "qemu", "edu", {}),
        ("qemu:edu?a=b=c", "qemu", "edu", {"a": "b=c"}),
        ("qemu:edu?a=%26%3f", "qemu", "edu", {"a": "&?"}),
        ("qemu:edu?a=b?c", "qemu", "edu", {"a": "b?c"}),
    ],
)
def test_parts(url: str, scheme: str, place: str, params: dict[str, str]) -> None:
    found = parse(url)
    assert (found.text, found.scheme, found.place, found.params) == (url, scheme, place, params)


@pytest.mark.parametrize(
    "url",
    ["", "qemu", ":edu", "QEMU:edu", "1:edu", "qemu edu", "qemu:edu?x", "qemu:edu?=1",
     "qemu:edu?memory=1M&memory=2M", "qemu:edu?memory=%00"],
)  # fmt: skip
def test_what_is_no_host(url: str) -> None:
    with pytest.raises(BadURL, match="host"):
        parse(url)


@pytest.mark.parametrize(
    "place",
    ["", "+", "edu+", "+edu", "edu,", "edu,,", "edu,x", "edu,=1", "edu,x=1,", "edu,x=1,x=2",
     "a b", "edu;x", "edu,x=%00", "edu%00"],
)  # fmt: skip
def test_what_is_no_device(place: str) -> None:
    with pytest.raises(BadURL):
        devices(f"qemu:{place}")


@pytest.mark.parametrize(
    ("part", "value"),
    [("a,,b", "a,b"), (",,", ","), ("a,,", "a,"), (",,b", ",b"), (",,,,", ",,"), ("%2C", ","),
     ("%2B", "+"), ("a=b", "a=b"), ("", ""), ("%2C%2C", ",,")],
)  # fmt: skip
def test_commas_in_a_value(part: str, value: str) -> None:
    assert devices(f"qemu:edu,x={part},y=1") == [DeviceSpec("edu", {"x": value, "y": "1"})]


@given(specs)
def test_percent_encoding_both_ways(wanted: list[DeviceSpec]) -> None:
    assert devices("model:" + "+".join(map(written, wanted))) == wanted


@given(text, text)
def test_doubled_commas_both_ways(one: str, two: str) -> None:
    found = devices(f"qemu:edu,x={escaped(one)},y={escaped(two)}")
    assert found == [DeviceSpec("edu", {"x": one, "y": two})]


@given(st.text(max_size=40))
def test_any_text_is_a_host_or_a_bad_url(url: str) -> None:
    for candidate in (url, "qemu:" + url):
        with contextlib.suppress(BadURL):
            devices(candidate)


def test_order_of_devices_and_properties_is_kept() -> None:
    first, second = devices("qemu:nvme,serial=1,size=64M+edu")
    assert list(first.props) == ["serial", "size"]
    assert second == DeviceSpec("edu")


def test_unknown_keys_are_named_with_the_known_ones() -> None:
    url = parse("qemu:edu?nope=1")
    with pytest.raises(BadURL, match=r"'nope'.*keys are: a, b"):
        url.check_params(("b", "a"))
    with pytest.raises(BadURL, match="keys are: none"):
        url.check_params(())


# ---- what the schemes make of it -------------------------------------------------


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("nope:edu", "schemes: qemu, model"),
        ("model:nope", "models: edu, ram, or a file"),
        ("model:edu?memry=1M", "unknown key 'memry'"),
        ("model:edu?memory=4G", "too much.*3072M"),
        ("model:edu?memory=64K", "too little.*1024K"),
        ("model:edu?iommu=yes", "neither on nor off"),
        ("qemu:edu?iommu=ON", "neither on nor off"),
        ("model:edu?scatter=-1", "scatter=-1.*no seed"),
        ("qemu:edu?scatter=x", "scatter=x.*no seed"),
        ("qemu:edu?memry=1M", "unknown key 'memry'"),
        ("qemu:edu?memory=lots", "memory=lots"),
        ("qemu:edu?memory=9999999999999G", "memory=9999999999999G"),
        ("qemu:nvme,size=-1", "size=-1"),
    ],
)
def test_bad_urls_say_why(url: str, says: str) -> None:
    with pytest.raises(BadURL, match=says):
        open_host(url)


def test_a_property_that_a_model_does_not_have() -> None:
    with pytest.raises(HostRefused, match=r"model 'edu'.*speed"):
        open_host("model:edu,speed=1")


def test_more_models_than_a_bus_has_slots() -> None:
    with pytest.raises(HostRefused, match="31"):
        open_host("model:" + "+".join(["edu"] * 32))
    host = open_host("model:" + "+".join(["edu"] * 31))
    assert host.functions()[-1].address.device == 31
    host.close()


@pytest.mark.parametrize(
    ("size", "count"), [("1", 1), ("64k", 64 << 10), ("64M", 64 << 20), ("3G", 3 << 30)]
)
def test_sizes(size: str, count: int) -> None:
    assert parse_size(size, "size") == count


@pytest.mark.parametrize("size", ["", "0", "M", "-1", "1.5M", "1T", "0x10", " 1", "1M\n", "1" * 30])
def test_what_is_no_size(size: str) -> None:
    with pytest.raises(BadURL):
        parse_size(size, "size")


def test_seeds() -> None:
    assert [scatter_seed(text) for text in (None, "0", "17")] == [None, 0, 17]


@pytest.mark.parametrize(
    ("url", "has"), [("model:edu", True), ("model:edu?iommu=off&memory=1M&scatter=3", False)]
)
def test_what_a_model_machine_can_do(url: str, has: bool) -> None:
    host = open_host(url)
    assert Feature.DMA in host.features
    assert (Feature.IOMMU in host.features) is has
    host.close()


def test_our_properties_become_back_ends() -> None:
    spec = devices("qemu:nvme,serial=1,file=a%2Cb+pci-serial,text=t+e1000,wire=w")
    argv = device_arguments(spec).argv
    assert [argv[i + 1].split(",")[0] for i, a in enumerate(argv) if a == "-device"] == [
        "nvme", "pci-serial", "e1000",
    ]  # fmt: skip
    assert argv[1].endswith("/a,,b")
    assert "nvme,serial=1,drive=rumpci0" in argv


@given(text)
def test_a_quoted_value_is_one_part_of_an_option(value: str) -> None:
    assert qemu_quote(value).replace(",,", "\0").split(",") == [value.replace(",", "\0")]


# ---- addresses ---------------------------------------------------------------------

addresses = st.builds(
    Address, st.integers(0, 0xFFFF), st.integers(0, 255), st.integers(0, 31), st.integers(0, 7)
)


@given(addresses)
def test_addresses_both_ways(address: Address) -> None:
    assert Address.parse(str(address)) == address
    assert Address.parse(str(address).upper()) == address


@given(addresses, addresses)
def test_addresses_sort_as_they_print(one: Address, two: Address) -> None:
    assert (one < two) == (str(one) < str(two))


@pytest.mark.parametrize(
    "address", ["", "00:20.0", "00:00.8", "00:00", "0:0:0:0.0", "100:00.0", "00:00.0\n", "x0:00.0"]
)
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(RumpciError):
        Address.parse(address)


def test_short_addresses() -> None:
    assert Address.parse("1:2.3") == Address(0, 1, 2, 3)
