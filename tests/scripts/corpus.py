"""Short texts in many scripts and spellings: every part that reads text must leave them what they are."""

from typing import NamedTuple


class ScriptText(NamedTuple):
    """A text, a text of the same length that means something else, and the same text in another spelling."""

    text: str
    other: str
    spelling: str


CORPUS = {
    "english": ScriptText("It will rain tomorrow", "It will snow tomorrow", "it will rain tomorrow."),
    "german": ScriptText("Die Straße ist heiß", "Die Gasse ist heiß", "DIE STRASSE IST HEISS"),
    "french": ScriptText("Le café est fermé", "Le café est ouvert", "Le cafe\u0301 est ferme\u0301"),
    "turkish": ScriptText("İstanbul çok güzel", "Ankara çok güzel", "İstanbul çok güzel!"),
    "vietnamese": ScriptText("Trời mưa rất to", "Trời nắng rất to", "Tr\u01a1\u0300i mưa rất to"),
    "greek": ScriptText("Αύριο θα βρέξει", "Αύριο θα χιονίσει", "ΑΎΡΙΟ ΘΑ ΒΡΈΞΕΙ"),
    "russian": ScriptText("Завтра будет дождь", "Завтра будет снег", "ЗАВТРА БУДЕТ ДОЖДЬ!"),
    "georgian": ScriptText("ხვალ წვიმა იქნება", "ხვალ თოვლი იქნება", "ხვალ წვიმა იქნება."),
    "armenian": ScriptText("Վաղը անձրև է", "Վաղը ձյուն է", "Վաղը անձրև է։"),
    "hebrew": ScriptText("מחר ירד גשם", "מחר ירד שלג", "מחר ירד גשם."),
    "arabic": ScriptText("غدا سوف تمطر", "غدا سوف تثلج", "غدا سوف تمطر؟"),
    "persian": ScriptText("فردا باران می‌بارد", "فردا برف می‌بارد", "فردا باران می‌بارد؟"),
    "hindi": ScriptText("कल बारिश होगी", "कल बर्फ होगी", "कल बारिश होगी।"),
    "bengali": ScriptText("আগামীকাল বৃষ্টি হবে", "আগামীকাল তুষার হবে", "আগামীকাল বৃষ্টি হবে।"),
    "tamil": ScriptText("நாளை மழை பெய்யும்", "நாளை பனி பெய்யும்", "நாளை மழை பெய்யும்."),
    "thai": ScriptText("พรุ่งนี้ฝนจะตก", "พรุ่งนี้หิมะจะตก", "พรุ่งนี้ ฝนจะตก"),
    "khmer": ScriptText("ថ្ងៃស្អែកភ្លៀង", "ថ្ងៃស្អែកព្រិល", "ថ្ងៃស្អែកភ្លៀង។"),
    "chinese": ScriptText("明天北京多云", "明天上海多云", "明天北京多云。"),
    "japanese": ScriptText("明日は雨です", "明日は雪です", "明日は雨です。"),
    "korean": ScriptText("내일 비가 온다", "내일 눈이 온다", "\u1102\u1162\u110b\u1175\u11af 비가 온다"),
    "emoji": ScriptText("👩‍👩‍👧 go 🇩🇪", "👩‍👩‍👧 go 🇫🇷", "👩‍👩‍👧 go 🇩🇪."),
    "digits": ScriptText("room 12", "room 13", "room １２"),
    "ligature": ScriptText("a fine flag", "a fine flat", "a ﬁne ﬂag"),
    "symbols": ScriptText("write it in C++", "write it in C#", "write it in Ｃ＋＋"),
}
