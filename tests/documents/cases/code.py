"""Source code, and TeX."""

from tests.documents.cases import Case, raw

_PYTHON = '''# -*- coding: latin-1 -*-
"""Areas."""
import math

# Of a circle, in é².
@cached
def area(r):
    return math.pi * r ** 2
'''
_GO = "package main\n\n// add adds.\nfunc add(a, b int) int {\n\n\treturn a + b\n}\n"
_TEX = rb"""\documentclass{article}
\usepackage{amsmath}
\title{On pumps}
\newcommand{\bar}{\mathrm{bar}}
% a note to myself
\begin{document}
\maketitle
\section{Valves} % rename?
The pressure is $p = 40\,\bar$, or 5\% less. % check
\begin{verbatim}
100 % 7
\end{verbatim}
\input{appendix}
\includegraphics{pump.png}
\end{document}
after the end
"""

CASES = [
    Case(
        "Python as it stands, in the encoding that it declares",
        "a.py",
        raw(_PYTHON.encode("latin-1")),
        holds=(_PYTHON,),
    ),
    Case(
        "Python 2, which Python 3 cannot parse",
        "b.py",
        raw(b'print "a"\n'),
        holds=('print "a"',),
    ),
    Case("Go as it stands", "a.go", raw(_GO.encode()), holds=(_GO,)),
    Case("settings", "a.ini", raw(b"[core]\n; off\nx = 1\n"), holds=("[core]\n; off\nx = 1\n",)),
    Case(
        "TeX: formulas stay, comments and the preamble go",
        "a.tex",
        raw(_TEX),
        holds=(
            "\\title{On pumps}\n\\newcommand{\\bar}{\\mathrm{bar}}\n",
            "\\section{Valves}",
            "$p = 40\\,\\bar$, or 5\\% less.",
            "100 % 7",
        ),
        lacks=("amsmath", "myself", "rename", "check", "after the end"),
        notices=(
            "2 lines of its preamble left out",
            "3 comments left out",
            "1 file that it includes not read: appendix",
            "1 picture not read",
        ),
    ),
    Case(
        "TeX without a preamble",
        "part.tex",
        raw(b"\\section{One}\nA.\n\\section{Two}\nB.\n"),
        holds=("\\section{One}\nA.\n\\section{Two}\nB.\n",),
    ),
]
