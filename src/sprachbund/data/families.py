"""Top-level genealogical family of each language that the common multilingual benchmarks hold.

Names and membership follow Glottolog's top level (as URIEL does), under the names that the field uses most. Creoles
stand with their lexifier, as there. A language that is not listed has the family "": unknown, not a guess.
"""

_MEMBERS = {
    "Afro-Asiatic": "acm acq aeb ajp am apc ar ars ary arz ha he kab mt om so taq ti tzm",
    "Artificial": "eo",
    "Atlantic-Congo": "ak bem cjk ee ff fon fuv ig kam kbp kg ki kmb lg ln lua mos nso ny rn rw sg sn ss st sw tn ts "
    "tum tw umb wo xh yo zu",
    "Austroasiatic": "km sat vi",
    "Austronesian": "ace ban bbc bjn bug ceb fil fj haw id ilo jv mad mg mi min ms nij pag sm su war",
    "Aymaran": "ay",
    "Basque": "eu",
    "Dravidian": "kn ml ta te",
    "Indo-European": "af as ast awa be bg bho bn br bs ca ckb cs cy da de el en es fa fo fr fur fy ga gd gl gu hi hne "
    "hr ht hy is it kea ks ku la lb li lij lmo lt ltg lv mag mai mk mr nb ne nl nn no oc or pa pap pbt pl ps pt ro ru "
    "sa sc scn sd si sk sl sq sr sv szl tg tpi uk ur vec yi",
    "Japonic": "ja",
    "Kartvelian": "ka",
    "Koreanic": "ko",
    "Mande": "bm dyu nqo",
    "Mongolic": "mn",
    "Nilotic": "din luo nus",
    "Quechuan": "qu quy",
    "Saharan": "kr",
    "Sino-Tibetan": "bo dz kac lus mni my yue zh",
    "Tai-Kadai": "lo shn th",
    "Tupian": "gn",
    "Turkic": "az azb ba crh kk ky tk tr tt ug uz",
    "Uralic": "et fi hu",
}
FAMILIES = {
    language: family for family, members in _MEMBERS.items() for language in members.split()
}


def family_of(language: str) -> str:
    """The family of a language subtag (`sw` -> "Atlantic-Congo"); "" where the table does not know it."""
    return FAMILIES.get(language, "")
