"""The control words of RTF that a reader of its text must know."""

# The encoding of a font by the number of its character set.
CHARSETS = {
    0: "cp1252",
    77: "mac_roman",
    128: "cp932",
    129: "cp949",
    130: "johab",
    134: "gb18030",
    136: "cp950",
    161: "cp1253",
    162: "cp1254",
    163: "cp1258",
    177: "cp1255",
    178: "cp1256",
    186: "cp1257",
    204: "cp1251",
    222: "cp874",
    238: "cp1250",
    254: "cp437",
    255: "cp850",
}
SYMBOL_CHARSET = 2
SPECIAL = {
    "tab": "\t",
    "line": "\n",
    "lbr": "\n",
    "emdash": "\u2014",
    "endash": "\u2013",
    "emspace": " ",
    "enspace": " ",
    "qmspace": " ",
    "bullet": "\u2022",
    "lquote": "\u2018",
    "rquote": "\u2019",
    "ldblquote": "\u201c",
    "rdblquote": "\u201d",
    "~": "\u00a0",
    "_": "-",
    "{": "{",
    "}": "}",
    "\\": "\\",
}
# Groups that hold no text of the document; so are all that are marked as such and not known here.
SKIPPED = {
    *("colortbl", "stylesheet", "info", "fldinst", "listtable", "listoverridetable", "revtbl"),
    *("rsidtbl", "generator", "themedata", "colorschememapping", "datastore", "latentstyles"),
    *("atnid", "atnauthor", "atntime", "atndate", "atnref", "atrfstart", "atrfend", "atnicn"),
    *(
        "bkmkstart",
        "bkmkend",
        "xe",
        "tc",
        "nonshppict",
        "sn",
        "sv",
        "objdata",
        "objclass",
        "filetbl",
    ),
    *("mmathPict", "mdegHide", "mctrlPr", "pnseclvl", "pgdsctbl", "xmlnstbl", "listpicture", "pn"),
    *("formfield", "ftnsep", "ftnsepc", "aftnsep", "aftnsepc", "ftncn", "aftncn", "nesttableprops"),
    *("nonesttables", "mmathPr", "falt", "panose", "fontemb", "fontfile", "template", "comment"),
    *(
        "filetbl",
        "shprslt",
        "objname",
        "objalias",
        "picprop",
        "blipuid",
        "userprops",
        "docvar",
        "htmltag",
    ),
}
# Groups marked as such that do hold text.
READ = {"shpinst", "shptxt", "shppict", "fldrslt", "moMath", "moMathPara", "ud", "mmath"}
NOTES = {"footnote"}
MARGINS = {"header", "headerl", "headerr", "headerf", "footer", "footerl", "footerr", "footerf"}
BOXES = {"shptxt", "dptxbxtext"}
LABELS = {"listtext", "pntext"}
# What a part of an equation begins and ends with.
MATH = {
    "msup": ("^(", ")"),
    "msub": ("_(", ")"),
    "mnum": ("(", ")"),
    "mden": ("/(", ")"),
    "mrad": ("sqrt(", ")"),
}
