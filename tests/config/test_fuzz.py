"""Any value in any setting gives settings or one sentence, and any file name is taken as it is."""

import string

import pytest
from hydra.errors import HydraException
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st
from omegaconf.errors import OmegaConfBaseException
from support.command import CommandLine
from support.settings import compose_settings

from mfcc_wavenet.config.command_line import quoted, sentence
from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.parse import setting_names

NUMBERS = st.one_of(st.integers(), st.integers(-(2**70), 2**70), st.floats(), st.sampled_from([0, -1, 1, 2**63]))
TEXTS = st.text(
    string.printable.replace("\n", "").replace("\r", "").replace("\x0b", "").replace("\x0c", ""), max_size=12
)
PLAIN = st.one_of(NUMBERS.map(str), TEXTS, st.sampled_from(["null", "true", "None", "[]", "{}", "???", "${x}", "''"]))
VALUES = st.one_of(PLAIN, st.lists(PLAIN, max_size=3).map(lambda values: f"[{','.join(values)}]"))


def bounded(count: int):
    """Without shrinking, which takes minutes when hundreds of command lines are composed."""
    return settings(max_examples=count, deadline=None, phases=[Phase.explicit, Phase.generate])


def one_sentence(text: str) -> bool:
    return bool(text) and "\n" not in text and "Traceback" not in text and text.rstrip()[-1] in ".?)"


@bounded(40)
@given(name=st.sampled_from(setting_names()), value=VALUES)
@example(name="train.steps", value="1e4")
@example(name="optim.betas", value="(0.9,0.98)")
@example(name="data.seconds", value="1e400")
def test_any_value_in_any_setting(name, value):
    """Settings, or one sentence; a MemoryError or a hang would be a sentence that is missing."""
    try:
        compose_settings(*quoted([f"{name}={value}"]))
    except (UserError, HydraException, OmegaConfBaseException) as error:
        assert one_sentence(sentence(error)), sentence(error)
    except ValueError as error:
        assert "Config group override" in str(error) and one_sentence(sentence(error))


@bounded(60)
@given(word=st.text(max_size=20).filter(lambda word: not word.startswith("-")))
def test_any_word_of_a_command_line(word):
    try:
        compose_settings(*quoted([word]))
    except (UserError, HydraException, OmegaConfBaseException) as error:
        assert one_sentence(sentence(error)), sentence(error)
    except ValueError as error:
        assert "Config group override" in str(error)


NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters="/\0\n\r", exclude_categories=["Cc", "Zl", "Zp"]), min_size=1
)


@pytest.mark.filterwarnings("ignore:.*function-scoped fixture")
def test_any_file_name_is_taken_as_it_is(tmp_path, monkeypatch, capsys):
    """Whatever its letters mean to Hydra's grammar: the sentence that it is not there shows the very name."""
    type_in = CommandLine(tmp_path, monkeypatch, capsys)

    @bounded(4)
    @given(name=NAMES)
    @example(name="Grüße.wav")
    @example(name="take (1).wav")
    @example(name="a=b, it's ${x} \\x\"'.wav")
    @example(name="[1]{2}.npy")
    @example(name="null.wav")
    def check(name):
        done = type_in.words("experiment=baseline", "mode=generate", f"input=x{name}")
        assert done.code == 2 and f"input=x{name}: " in done.err, done.err

    check()
