"""Look-ups in shell command lines: always whole words, whatever they hold; refused wherever they could not be."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.resolving import marked, mistake, mistakes, resolve

from taskrun.resolve.shelltext import MARK, is_known_shell, places, stands_alone

SHELLS = [shell for shell in ("sh", "bash", "dash", "zsh", "ksh", "mksh", "busybox") if shutil.which(shell)]


def run(attempt) -> bytes:
    """What the command of an attempt prints; it must succeed and say nothing on stderr."""
    env = {**attempt.env, "PATH": os.environ["PATH"]}
    done = subprocess.run(attempt.command.argv, env=env, capture_output=True, timeout=30, cwd=attempt.cwd)
    assert (done.returncode, done.stderr) == (0, b""), done
    return done.stdout


def toml(text: str, extra: str = "") -> str:
    quote = "'''"
    return f"[tasks.t]\nforeach.x = {{ env = 'NOTHING', default = 'v' }}\nshell = {quote}\n{text}{quote}\n{extra}"


def shell_argv(shell: str) -> str:
    return '["busybox", "sh", "-eu", "-c"]' if shell == "busybox" else f'["{shell}", "-eu", "-c"]'


# --- where a look-up stands


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("echo @", ""),
        ("@", ""),
        ("@ arg", ""),
        ("echo a@b", ""),
        ("X=@ cmd", ""),
        ("echo 'a'@'b'", ""),
        ('echo "a"@"b"', ""),
        ("echo $(cat @)", ""),
        ('echo "$(cat @)"', ""),
        ('echo "$(echo "$(cat @)")"', ""),
        ('echo "a)" $(echo ")") @', ""),
        ("cat <(sort @)", ""),
        ("cat <<< @", ""),
        ("cat > @", ""),
        ("for f in @; do echo; done", ""),
        ("case @ in a) ;; esac", ""),
        ("case a in @) ;; esac", ""),
        ("echo a#b @", ""),
        ("echo $# @", ""),
        ("echo ${#a} @", ""),
        ("echo ${a:-'}'} @", ""),
        ('echo "${a:-\'}" @', ""),
        ("echo \\' @", ""),
        ('echo \\" @', ""),
        ('echo "\\"" @', ""),
        ("echo '\\' @", ""),
        ("echo $'\\'' @", ""),
        ("echo \\\n @", ""),
        ("echo # it's\n @", ""),
        ("cat <<E\nit's\nE\necho @", ""),
        ("cat <<-'E F'\nit's\n\tE F\necho @", ""),
        ("cat <<A <<B\n'\nA\n\"\nB\necho @", ""),
        ("cat <<\\E\n'\nE\necho @", ""),
        ("echo $(case x in a) echo ')';; esac) @", ""),
        ('x="$(case y in a) echo;; (b) echo;; esac)" @', ""),
        ("echo $((1 + (2 * 3))) @", ""),
        ("echo $((1 << 2))\necho @", ""),
        ("f() { echo @; }", ""),
        ("a=(1 @ 2)", ""),
        ("(cd x && ls @)", ""),
        ("echo `date` @", ""),
        ("[ @ = a ] && [[ -e @ ]]", ""),
        ('echo "@"', "double quotes"),
        ('echo "a $(b) @"', "double quotes"),
        ('echo "\\"@"', "double quotes"),
        ('echo "${a}@"', "double quotes"),
        ('echo "$(case x in a) b;; esac)@"', "double quotes"),
        ('echo $"@"', "double quotes"),
        ("echo '@'", "single quotes"),
        ("echo 'a\\'@", ""),
        ("echo $'\\'@'", "single quotes"),
        ("bash -c 'echo @'", "single quotes"),
        ("echo $(echo '@')", "single quotes"),
        ("echo \"$(echo '@')\"", "single quotes"),
        ("echo `cat @`", "backquotes"),
        ('echo "`cat @`"', "backquotes"),
        ("echo `echo $(cat @)`", "backquotes"),
        ("echo ${a:-@}", "`${...}`"),
        ('echo "${a:-@}"', "`${...}`"),
        ("echo $((@ + 1))", "arithmetic"),
        ('echo "$((@))"', "arithmetic"),
        ("((@ > 1))", "arithmetic"),
        ("if ((@ > 1)); then :; fi", "arithmetic"),
        ("echo $[@]", "arithmetic"),
        ("echo $[a[1]+@]", "arithmetic"),
        ("echo a # @", "a comment"),
        ("# @\necho", "a comment"),
        ("echo;# @", "a comment"),
        ("cat <<E\n@\nE", "a here-document"),
        ("cat <<'E'\na\n@\nE", "a here-document"),
        ("cat <<E\n@", "a here-document"),
        ("cat <<@\nE", "a here-document"),
        ("cat << 'E' && x\n$(@)\nE", "a here-document"),
        ("$(cat <<E\n@\nE\n)", "a here-document"),
        ("echo \\@", "a word after a backslash"),
        ("echo $@", "a word after `$`"),
        ("echo 'unclosed @", "single quotes"),
        ('echo "unclosed @', "double quotes"),
    ],
)
def test_the_scanner_knows_where_a_look_up_stands(text, place):
    count = text.count("@")
    assert places(text.replace("@", MARK)) == [place] * count


@pytest.mark.parametrize(
    ("text", "alone"),
    [
        ("@", True),
        ("a @", True),
        ("a @;", True),
        ("(@)", True),
        ("@|", True),
        ("a@", False),
        ("@b", False),
        ("=@", False),
        ("@@", False),
    ],
)
def test_a_list_needs_to_stand_alone(text, alone):
    text = text.replace("@", MARK)
    assert stands_alone(text, text.index(MARK)) is alone


@given(st.text(alphabet="ab \n\t'\"`$(){}[]\\#<>;&|=-\0@", max_size=40))
@settings(max_examples=300)
def test_the_scanner_ends_and_finds_every_look_up_of_any_text(text):
    assert len(places(text)) == text.count(MARK)


# The strongest check there is: whatever is deemed a plain word is put to the test by a real shell.
_FRAGMENTS = st.sampled_from(
    [
        "a",
        " ",
        "\n",
        "'",
        '"',
        "`",
        "$(",
        ")",
        "(",
        "${x:-",
        "}",
        "$((",
        "))",
        "\\",
        "#",
        "<<E\n",
        "\nE\n",
        ";",
        "echo ",
        "$",
        "case a in ",
        "esac",
        "@",
    ]
)


@given(st.lists(_FRAGMENTS, max_size=12).map("".join))
@settings(max_examples=150)
@example('echo "$(case a in a) echo @;; esac)"')
@example("echo $(case a in a) echo 'x';; esac) @")
def test_no_shell_ever_runs_a_value_wherever_the_scanner_allows_it(text):
    marked_text = text.replace("@", MARK)
    if MARK not in marked_text or any(places(marked_text)):
        return
    canary = "'; touch canary; \"$(touch canary)`touch canary`\nx)}"
    line = marked_text.replace(MARK, '"$TASKRUN_V1"')
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            ["bash", "-c", line],
            env={"TASKRUN_V1": canary, "PATH": os.environ["PATH"]},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=30,
        )
        assert "canary" not in os.listdir(folder), line


@pytest.mark.parametrize(
    ("argv", "known"),
    [
        (("sh", "-c"), True),
        (("/bin/bash", "-euo", "pipefail", "-c"), True),
        (("env", "bash", "-c"), True),
        (("busybox", "sh", "-c"), True),
        (("python3", "-c"), False),
        (("fish", "-c"), False),
        (("ssh", "host", "sh", "-c"), False),
        (("sudo", "sh", "-c"), False),
        (("env",), False),
    ],
)
def test_only_shells_with_posix_words_are_known(argv, known):
    assert is_known_shell(argv) is known


# --- what becomes of it


def test_a_look_up_between_quotes_is_an_error_that_says_what_to_do():
    found = mistake(toml('echo "<{{ x }}>"'), "t")
    assert found.message == "`{{ x }}` stands in double quotes"
    assert found.label == 'end the quotes before it: "..."{{ x }}"..."; it becomes one word by itself'
    assert marked(found) == "{{ x }}"


@pytest.mark.parametrize(
    "text", ["echo '{{ x }}'", "echo `echo {{ x }}`", "echo # {{ x }}", "cat <<E\n{{ x }}\nE\n", "echo $(({{ x }}))"]
)
def test_every_place_where_a_value_would_be_no_word_is_an_error(text):
    found = mistake(toml(text), "t")
    assert found.code == "shell-look-up"
    assert found.label
    assert marked(found) == "{{ x }}"


def test_a_program_that_is_no_shell_gets_no_look_ups():
    found = mistake(toml("print({{ x }})", 'shell-argv = ["python3", "-c"]'), "t")
    assert "cannot be handed to `python3`" in found.message
    assert resolve(toml("print(1)", 'shell-argv = ["python3", "-c"]'), "t").argv("t[x=v]") == [
        "python3",
        "-c",
        "print(1)",
    ]


def test_the_text_that_a_shell_reads_never_has_a_value_and_people_see_it_quoted():
    found = resolve(
        """
        vars = { v = "it's $(date)", l = ["a b", "c"] }
        [tasks.t]
        shell = "x {{ vars.v }}y {{ vars.l }} {{ vars.v }} {{{{ z"
        """,
        "t",
    )
    attempt = found.attempt("t")
    assert attempt.command.argv == (
        "sh", "-eu", "-c", 'x "$TASKRUN_V1"y "$TASKRUN_V2" "$TASKRUN_V3" "$TASKRUN_V1" {{ z',
    )  # fmt: skip
    assert attempt.command.shell == """x 'it'"'"'s $(date)'y 'a b' c 'it'"'"'s $(date)' {{ z"""
    words = {name: value for name, value in attempt.env.items() if name.startswith("TASKRUN_V")}
    assert words == {"TASKRUN_V1": "it's $(date)", "TASKRUN_V2": "a b", "TASKRUN_V3": "c"}
    assert not set(words) & set(attempt.extra_env)


def test_words_of_an_outer_run_are_not_handed_on():
    environ = {"TASKRUN_V1": "outer", "TASKRUN_V12": "outer", "TASKRUN_VERSION": "kept"}
    env = resolve("[tasks.t]\nshell = 'true'", "t", environ=environ).env("t")
    assert "TASKRUN_V1" not in env
    assert "TASKRUN_V12" not in env
    assert env["TASKRUN_VERSION"] == "kept"


NASTY = [
    "",
    " ",
    "\n",
    "a\n\n",
    "-n",
    "--help",
    "*",
    "?[a-z]*",
    "~",
    "$HOME",
    "$(touch canary)",
    "`touch canary`",
    "'; touch canary; '",
    '"; touch canary; "',
    "\\",
    "\\'",
    "a\tb  c",
    "%s%d\\n",
    "!!",
    "{a,b}",
    "ünï©ødé 🎬",
    "{{ x }}",
    "${TASKRUN_V1}",
    "\x01\x1b[31m",
    "&& touch canary",
    "a=b",
    "#",
]


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("value", NASTY)
def test_every_shell_prints_exactly_the_bytes_of_a_value(shell, value, tmp_path):
    found = resolve(
        f"""
        [vars]
        x = {{ type = "str" }}
        [tasks.t]
        shell-argv = {shell_argv(shell)}
        shell = "printf '<%s>' {{{{ vars.x }}}} a{{{{ vars.x }}}}b \\"$(printf %s {{{{ vars.x }}}}; echo .)\\""
        """,
        "t",
        root=tmp_path,
        keys={"x": value},
    )
    expected = f"<{value}><a{value}b><{value}.>".encode()
    assert run(found.attempt("t")) == expected
    assert os.listdir(tmp_path) == []


@given(
    st.lists(
        st.one_of(
            st.sampled_from(NASTY),
            st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30),
        ),
        max_size=4,
    )
)
@settings(max_examples=40)
def test_any_list_arrives_word_by_word(values):
    import tempfile

    import msgspec

    with tempfile.TemporaryDirectory() as folder:
        found = resolve(
            """
            vars = { l = [] }
            [tasks.t]
            shell = 'for x in {{ vars.l }}; do printf "<%s>" "$x"; done; f() { printf "%s" $#; }; f {{ vars.l }}'
            """,
            "t",
            root=folder,
            keys={"l": msgspec.json.encode(values).decode()},
        )
        expected = "".join(f"<{value}>" for value in values) + str(len(values))
        assert run(found.attempt("t")) == expected.encode()
        assert os.listdir(folder) == []


@pytest.mark.parametrize("shell", SHELLS)
def test_extra_arguments_are_the_positional_parameters(shell, tmp_path):
    text = f"""
        [tasks.t]
        shell-argv = {shell_argv(shell)}
        shell = 'printf "<%s>" "$@" $#'
        """
    assert (
        run(resolve(text, "t", root=tmp_path, extra=("a b", "", "$(x)", "-n")).attempt("t")) == b"<a b><><$(x)><-n><4>"
    )
    assert run(resolve(text, "t", root=tmp_path).attempt("t")) == b"<0>"


def test_extra_arguments_go_where_the_command_line_says(tmp_path):
    text = "[tasks.t]\nshell = 'printf \"<%s>\" {{ extra }} $#'"
    assert run(resolve(text, "t", root=tmp_path, extra=("a b", "*")).attempt("t")) == b"<a b><*><0>"
    assert run(resolve(text, "t", root=tmp_path).attempt("t")) == b"<0>"


def test_a_look_up_in_a_shell_source_is_a_word_as_well():
    read = []

    def shell(command, environ):
        read.append((command, environ["TASKRUN_V1"]))
        return "out\n"

    text = "[vars]\nd = '; x'\nv = { shell = 'ls {{ vars.d }}' }\n[tasks.t]\nrun = ['{{ vars.v }}']"
    assert resolve(text, "t", shell=shell).argv("t") == ["out"]
    assert read == [('ls "$TASKRUN_V1"', "; x")]


def test_a_mistake_points_at_the_look_up_that_is_meant_and_all_are_found_at_once():
    text = """
        vars = { b = 1 }
        [tasks.t]
        foreach.a = ["x"]
        shell = '''
        cp {{ a }} {{ vars.b }}
        echo "{{ a }}" {{ vars.no }} '{{ a }} {{ vars.b }}' {{ a }} # {{ a }}
        '''
        """
    found = mistakes(text, "t")
    line = "        echo "
    assert [(each.span.line, each.span.column, marked(each)) for each in found] == [
        (7, len(line) + 2, "{{ a }}"),
        (7, len(line) + 11, "{{ vars.no }}"),
        (7, len(line) + 26, "{{ a }}"),
        (7, len(line) + 34, "{{ vars.b }}"),
        (7, len(line) + 58, "{{ a }}"),
    ]
    assert all(each.source.startswith(line) for each in found)
