"""A kernel command line, as the kernel reads it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible_collections.labkit.host.plugins.module_utils import cpus, kernel_words

LISTS = json.loads((Path(__file__).parents[1] / "data/core_lists.json").read_text())


@pytest.mark.parametrize(("text", "last", "cores"), LISTS["read"])
def test_list_is_read_as_the_kernel_reads_it(text, last, cores):
    assert sorted(kernel_words.cores(text, last)) == cores


@pytest.mark.parametrize(("text", "last"), LISTS["refused"])
def test_list_that_the_kernel_refuses_is_none(text, last):
    with pytest.raises(ValueError, match=r"is no (core or|valid) range"):
        kernel_words.cores(text, last)


@pytest.mark.parametrize("text", LISTS["unknown"])
def test_last_core_that_is_not_known_is_not_guessed(text):
    with pytest.raises(ValueError, match="not known"):
        kernel_words.cores(text)


@pytest.mark.parametrize("text", ["4-N", "all", "0-15:2/4", "1 2", "0,,1"])
def test_inventory_stays_strict(text):
    with pytest.raises(ValueError, match="expected core numbers and ranges"):
        cpus.parse(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a  b=c\n", ["a", "b=c"]),
        ('quiet dyndbg="file x +p; isolcpus=3" ro', ["quiet", 'dyndbg="file x +p; isolcpus=3"', "ro"]),
        ('"a=b c" d', ['"a=b c"', "d"]),
        ("it's b", ["it's", "b"]),
        ('open="x y', ['open="x y']),
        ("", []),
    ],
)
def test_blank_between_quotes_divides_nothing(text, words):
    assert kernel_words.words(text) == words


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("isolcpus=managed_irq,domain,4-N", "isolcpus=domain,managed_irq,4-15", True),
        ("isolcpus=4-15", "isolcpus=domain,4,5-15", True),
        ("isolcpus=4-15", "isolcpus=managed_irq,4-15", False),
        ("isolcpus=all", "isolcpus=0-15", False),
        ("nohz_full=all", "nohz-full=0-15", True),
        ("rcu_nocbs=all", "rcu_nocbs=0-N", True),
        ("irqaffinity=0-3", "irqaffinity=0,1,2,3", True),
        ("hugepagesz=1G", "hugepagesz=1024M", True),
        ("hugepagesz=2M", "hugepagesz=2048k", True),
        ("hugepagesz=2M", "hugepagesz=0x200000", True),
        ("default_hugepagesz=1G", "default-hugepagesz=1g", True),
        ("hugepagesz=1G", "hugepagesz=2M", False),
        ("hugepages=2", "hugepages=0:2", False),
        ("intel_idle.max_cstate=0", "intel-idle.max-cstate=0", True),
        ("nosoftlockup", "nosoftlockup=1", False),
        ('"dyndbg=file x +p"', 'dyndbg="file x +p"', True),
        ("console=ttyS0,115200", "console=ttyS0", False),
    ],
)
def test_arguments_mean_what_the_kernel_takes_them_for(one, other, same):
    assert (kernel_words.meaning(one, 15) == kernel_words.meaning(other, 15)) == same


@pytest.mark.parametrize(
    ("text", "last"), [("0-15\n", 15), ("0\n", 0), ("0-3,8-11", 11), ("", None), ("?", None)]
)
def test_last_core_is_that_of_the_possible_ones(text, last):
    assert kernel_words.last_of(text) == last
