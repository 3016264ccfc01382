"""What ethtool prints is read alike in every version."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.labkit.host.plugins.module_utils import ethtool_text
from ansible_collections.labkit.host.plugins.module_utils.ethtool_text import Indirection, Value

DATA = Path(__file__).parent / "data/ethtool"
VERSIONS = ["6.1", "6.14"]


def recorded(version, name):
    return (DATA / version / f"{name}.txt").read_text()


@pytest.mark.parametrize("version", VERSIONS)
def test_rings_have_their_maximum_and_what_is_not_there_is_left_out(version):
    rings = ethtool_text.labelled(recorded(version, "virtio-g"))

    assert rings["rx"] == rings["tx"] == Value("256", "256", most=256)
    assert rings["tx-push"].now == "off"
    assert not {"rx-mini", "rx-jumbo", "tx-push-buf-len"} & set(rings)


@pytest.mark.parametrize("version", VERSIONS)
def test_channels_are_read(version):
    assert ethtool_text.labelled(recorded(version, "virtio-l")) == {"combined": Value("1", "1", most=1)}


@pytest.mark.parametrize("version", VERSIONS)
def test_adaptive_moderation_is_not_mistaken_for_the_cqe_mode(version):
    text = recorded(version, "virtio-c").replace("CQE mode RX: n/a  TX: n/a", "CQE mode RX: on  TX: off")

    assert {key: value.now for key, value in ethtool_text.coalescing(text).items()} == {
        "adaptive-rx": "off",
        "rx-usecs": "0",
        "rx-frames": "1",
        "tx-usecs": "0",
        "tx-frames": "1",
        "cqe-mode-rx": "on",
        "cqe-mode-tx": "off",
    }


def test_label_that_is_not_the_word_that_sets_it_is_reported_as_that_word():
    assert "rx-frames-low" in ethtool_text.coalescing("rx-frame-low:\t7\n")


@pytest.mark.parametrize("version", VERSIONS)
def test_features_have_what_is_in_effect_what_was_asked_for_and_what_is_fixed(version):
    found, members = ethtool_text.features(recorded(version, "veth-k"))

    assert found["tx-checksum-ip-generic"] == Value("off", "off")
    assert found["tx-tcp-segmentation"] == Value("off", "on")
    assert found["large-receive-offload"] == Value("off", "off", fixed=True)
    assert members["tx-checksumming"] == [
        "tx-checksum-ipv4",
        "tx-checksum-ip-generic",
        "tx-checksum-ipv6",
        "tx-checksum-fcoe-crc",
        "tx-checksum-sctp",
    ]
    assert "tx-checksumming" not in found


def test_pause_is_read_and_what_was_negotiated_cannot_be_set():
    text = "Pause parameters for eth1:\nAutonegotiate:\ton\nRX:\t\toff\nTX:\t\ton\n"
    text += "RX negotiated: on\nTX negotiated: on\n"

    assert ethtool_text.labelled(text) == {
        "autoneg": Value("on", "on"),
        "rx": Value("off", "off"),
        "tx": Value("on", "on"),
        "rx-negotiated": Value("on", "on", fixed=True),
        "tx-negotiated": Value("on", "on", fixed=True),
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_driver_without_an_indirection_table_has_none(version):
    assert ethtool_text.indirection(recorded(version, "virtio-x")) is None


def test_permanent_address_is_read_and_virtual_interfaces_have_none():
    assert ethtool_text.permanent_address(recorded("6.14", "virtio-P")) == "02:00:00:00:00:01"
    assert ethtool_text.permanent_address(recorded("6.1", "veth-P")) is None
    assert ethtool_text.permanent_address("Permanent address: 00:00:00:00:00:00\n") is None


def test_indirection_table_is_read():
    text = (
        "RX flow hash indirection table for eth1 with 4 RX ring(s):\n"
        "    0:      0     1     2     3     0     1     2     3\n"
        "    8:      0     1     2     3     0     1     2     3\n"
        "RSS hash key:\n01:23:45\nRSS hash function:\n    toeplitz: on\n    xor: off\n"
    )

    assert ethtool_text.indirection(text) == Indirection((0, 1, 2, 3) * 4, 4)


@pytest.mark.parametrize(
    "words",
    ["default", "equal 1", "equal 3", "equal 2 start 2", "weight 6 2", "weight 1 0 1", "weight 0 0 0 1"],
)
def test_table_that_words_made_can_be_made_again_by_the_words_for_it(words):
    made = Indirection(Indirection((0,) * 16, 4).of(words), 4)

    again = made.words()

    assert again is not None
    assert made.of(again) == made.table


def test_equal_over_all_queues_is_the_default():
    assert Indirection((0, 1, 2, 3) * 4, 4).words() == "default"
    assert Indirection((0, 1, 2, 3) * 4, 8).words() == "equal 4"


def test_table_for_which_there_are_no_words_has_none():
    assert Indirection((3, 0, 0, 1), 4).words() is None


@pytest.mark.parametrize(
    "words", ["equal 0", "equal", "weight 0 0", "weight 9 8", "queue 3", "equal 4 5", "equal ٤", "weight ٢ ٢"]
)
def test_words_that_are_none_are_refused(words):
    with pytest.raises(ValueError, match="expected default, equal N"):
        Indirection((0,) * 16, 4).of(words)
