"""How documents speak to a model, as rules over folded text: small letters without accents.

Repetitions are bounded, so a rule costs a constant for each place where it could begin.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_GAP = r"[^.!?]{0,40}?"
_CJK_GAP = r"[^.!?。\n]{0,16}?"


@dataclass(frozen=True, slots=True)
class Rule:
    """A pattern, and words of which one of each group stands in every text that it matches."""

    words: tuple[tuple[str, ...], ...]
    pattern: re.Pattern[str]

    def found(self, folded: str) -> Iterator[re.Match[str]]:
        """The matches; looking for the words first costs next to nothing."""
        if all(any(word in folded for word in group) for group in self.words):
            yield from self.pattern.finditer(folded)


def _rule(words: str, pattern: str) -> Rule:
    groups = tuple(tuple(group.split("|")) for group in words.split(" & "))
    return Rule(groups, re.compile(pattern))


def _set_aside(words: str, verbs: str, scopes: str, nouns: str) -> Rule:
    """Ignore all previous instructions; the scope may stand before the noun or after it."""
    either = rf"(?:(?:{scopes}){_GAP}(?:{nouns})|(?:{nouns}){_GAP}(?:{scopes}))"
    return _rule(words, rf"\b(?:{verbs})\b{_GAP}\b{either}")


# Whom or what a document would turn a model into.
_MACHINE = (
    r"(?:dan|ai|a\.i\.|ki|ia|llm|gpt|chatgpt|claude|gemini|copilot|assistant|assistent|asistente"
    r"|assistente|(?:language |ai |sprach)?model|modell|modele|modelo|modello|chatbot|bot"
    r"|jailbroken|unrestricted|uncensored)\b"
)
_READER = (
    r"(?:ai|a\.i\.|llm|large language model|language model|chatbot|gpt|chatgpt|claude|gemini"
    r"|copilot|ai model|ai assistant|ai system|summari[sz]er|classifier)s?\b"
)
_TEXT = r"(?:document|text|article|e-?mail|message|page|ticket|content|record|passage|report)"

_ENGLISH = (
    _set_aside(
        "instruction|prompt|direction|guid|rule|command|directive|context|message"
        " & ignore|disregard|forget|overr|bypass|discard|neglect|set aside|follow|obey|heed"
        "|attention",
        r"ignore|disregard|forget|override|overrule|bypass|discard|neglect|set aside|(?:do not"
        r"|don't|stop) (?:follow|obey|heed)(?:ing)?|pay no attention to",
        r"previous|prior|above|earlier|preceding|foregoing|former|your|system|original|initial"
        r"|past|(?:all|any)(?: of)?(?: the| these| those| other)?(?= (?:instruction|prompt|command"
        r"|directive))|you (?:were|have been|had been) (?:given|told)|given to you",
        r"instructions?|prompts?|directions|guidelines|guidance|rules|commands?|directives?"
        r"|context|system messages?",
    ),
    _rule(
        "everything|anything|all|what|rest of & ignore |disregard |forget |skip ",
        r"\b(?:ignore|disregard|forget) (?:everything|anything|all|what)(?: that| which)?"
        r"(?: (?:is|was|stands|came|comes|has been|you were|you have been))?"
        r" (?:above|before|previous|prior|written|said|told|so far|up to now|until now)\b"
        rf"|\b(?:ignore|disregard|skip) the rest of (?:this|the) {_TEXT}\b",
    ),
    _rule(
        "instruction|guideline|rules|prompt & void|no longer|cancel|invalid|obsolete|not apply",
        r"\b(?:instructions|guidelines|rules|prompts?) (?:that )?(?:you (?:received|were given"
        r"|have been given|got)|given to you)\b[^.!?]{0,40}? (?:void|no longer|cancel+ed|invalid"
        r"|obsolete|not apply)\b",
    ),
    _rule(
        "task|role|goal|mission|objective|summari|classify|categori|process|above|regardless",
        r"\byour (?:new|only|real|actual|true) (?:task|role|goal|mission|objective)s? (?:is|are"
        r"|will)\b|\bthe task has (?:been )?changed\b"
        r"|\b(?:repeat|print|output) (?:all |everything |the (?:text|words|lines) )above\b"
        r"|\bregardless of (?:the|its) content,? the (?:answer|label|category|summary)\b"
        r"|\b(?:do not|don't) (?:summari[sz]e|classify|categori[sz]e) (?:this|the|it)\b"
        rf"|\bwhen (?:you )?(?:process|summari[sz]e|classify|categori[sz]e)(?:ing)?"
        rf" (?:this|the) {_TEXT}\b",
    ),
    _rule(
        " you to ",
        r"\bi (?:hereby )?(?:authori[sz]e|order|instruct|command) you to (?:disclose|reveal|ignore"
        r"|print|output|answer|respond|classify|label|disregard|bypass)\b",
    ),
    _rule(
        "assistant|chatbot",
        r"(?:\A|(?<=\n)|(?<=[.!?] ))[^\w\n]{0,4}(?:dear |hey |hello |ok |okay )?(?:ai[ -])?"
        r"(?:assistant|chatbot)"
        r",? (?:please|you must|disregard|ignore|put|print|classify|label|choose|answer|respond"
        r"|reply|output|say|write)\b|\bhuman: [^\n]{0,200}?\bassistant:",
    ),
    _rule(
        "you are now|you're now|from now on|henceforth",
        rf"\byou(?: are|'re) now (?:\w+ ){{0,4}}?{_MACHINE}"
        r"|\byou(?: are|'re) now (?:free from|no longer|in \w+ mode|acting as)"
        r"|\b(?:from now on|henceforth),? (?:you (?:are|will|must|shall|should)|act|answer|respond"
        r"|reply)\b",
    ),
    _rule(
        "no longer|pretend |act as|behave like| mode|programmed to",
        rf"\byou(?: are|'re) no longer (?:bound|restricted|limited|{_MACHINE}|an? {_MACHINE})"
        rf"|\b(?:pretend (?:to be|(?:that )?you are)|act as|behave like) (?:\w+ ){{0,4}}?{_MACHINE}"
        r"|\b(?:dan|jailbreak|god|unrestricted) mode\b|\bswitch (?:in)?to"
        r" (?:admin(?:istrator)?|developer|debug) mode\b|\byou have been (?:re)?programmed to\b",
    ),
    _rule(
        "prompt|instruction|message|environment|env vars|training data & the |your ",
        r"\b(?:reveal|print|show|repeat|output|leak|tell|display|dump|disclose|return|reply|respond"
        rf"|answer|give|send|list|share|expose)\b{_GAP}\b(?:(?:the|your) (?:system|initial|hidden"
        r"|original|secret) (?:prompt|instructions?|messages?)|your (?:(?:own|exact|full) )?"
        r"(?:prompt|instructions|environment variables|env vars|training data))\b",
    ),
    _rule(
        "answer |reply |respond |output "
        " & only|solely|exclusively|just|exactly|always|nothing|with |the string|the word",
        r"\boutput (?:only|just|exactly) (?:with|the (?:single )?(?:word|string|label|category))\b"
        r"|\b(?:answer|reply|respond|output) (?:(?:only|solely|exclusively|just|exactly|always)"
        r" (?:with|in|by|as)\b|with (?:(?:only|just|exactly|nothing but)\b|the (?:single )?"
        r"(?:word|phrase|string|label|text)\b)|nothing (?:but|except|else)\b"
        r"|with [\"'\u201c\u00ab]|the (?:string|word)\b)",
    ),
    _rule(
        "instruction|prompt|directive & new |updated |revised |real |actual |true |secret |hidden "
        "|final |system ",
        r"\b(?:new|updated|revised|real|actual|true|secret|hidden|final)"
        r"(?: system)? (?:instructions?|prompts?)(?: (?:for|to) [^.!?:\n]{1,30})?[ ]?:"
        r"|\b(?:begin|start|end) (?:of )?(?:new |system |hidden )(?:instructions?|prompt)\b",
    ),
    _rule(
        "attention|dear|note to|note for|instruction|reminder|warning|if you"
        "|ing this & ai|llm|a.i.|language model|chatbot|gpt|claude|gemini|copilot|summari"
        "|classifier",
        r"\b(?:attention|dear|(?:note|instructions?|reminder|warning) (?:to|for))[,:]?"
        rf" (?:the |any |all |an? |every )?{_READER}"
        rf"|\bif you(?: are|'re) (?:an? |the )?{_READER}"
        rf"|\b{_READER} (?:that is |which is |who is )?(?:reading|processing|analy[sz]ing|parsing"
        r"|summari[sz]ing) this\b",
    ),
    _rule(
        "class|label|categor|tag|mark ",
        rf"\b(?:classify|label|categori[sz]e|tag) (?:this|the|the above|the following) {_TEXT}s?"
        r"(?: here)? (?:as|under|with)\b"
        r"|\b(?:classify|label|categori[sz]e|tag|mark) (?:everything|all documents|every document)"
        r" as\b|\b(?:always |now )(?:classify|label|categori[sz]e|tag)\b[^.!?]{0,20}? as\b"
        r"|\b(?:always |must |should )choose (?:the )?(?:label|category)\b"
        r"|\bput this (?:document |text )?(?:in|into|under) the (?:category|class)\b"
        rf"|\bthis {_TEXT} (?:must|should|shall|has to|needs to) (?:always |only )?be"
        r" (?:classified|label+ed|categori[sz]ed|tagged)\b"
        r"|\b(?:correct|right|only|true|proper) (?:label|category|classification)"
        rf"(?: (?:of|for) (?:this|the) {_TEXT})? (?:is|:|must be)",
    ),
    _rule(
        "your summary|your answer|your response|your output|your reply|your classification"
        "|the summary",
        r"\b(?:your (?:summary|answer|response|output|reply|classification)|the summary)"
        r" (?:must|should|shall|has to|needs to|may only|will) (?:\w+ )?(?:be|contain|include"
        r"|say|state|mention|start|begin|end|read|consist)\b"
        r"|\b(?:add|include|insert|put|mention|write|say|state|list|repeat)\b[^.!?]{1,60}?"
        r" (?:in|to|into|at the (?:start|end) of) your (?:summary|answer|response|output|reply)\b",
    ),
    _rule(
        "the entities|the organi|the people|the topics|list of |extracted |confidence",
        r"\b(?:add|include|insert|put|append|list|report)\b[^.!?]{1,60}?"
        r" (?:to|in|into|among|as one of) the (?:list of )?(?:extracted )?"
        r"(?:entities|people|organi[sz]ations|topics)(?: list| field|\b(?=[.!\n]|$))"
        r"|\b(?:set|report|return|use|give|assign) (?:a |the |your )?confidence"
        r"(?: score| value)?(?: of| to| as| =| is)? ?(?:[01]\b|0?\.\d|100|high)",
    ),
    _rule(
        "the user|this instruction|these instructions|this message",
        r"\b(?:do not|don't|never) (?:tell|mention|reveal|disclose|report|inform|alert)\b"
        r"[^.!?]{0,20}? (?:the user (?:about|that|of)|this (?:instruction|message)"
        r"|these instructions)\b",
    ),
)

_GERMAN = (
    _rule(
        "ignorier|vergiss|vergessen sie",
        r"\b(?:ignoriere|ignorieren sie|vergiss|vergessen sie) (?:bitte )?(?:den rest|alles,? was"
        r" (?:oben|davor|bisher|vorher|du)|alles (?:obige|bisherige|vorherige)|das obige)\b",
    ),
    _set_aside(
        "anweisung|instruktion|befehl|vorgabe|regel|prompt",
        r"ignorier(?:e|en|t)(?: sie)?|missachten?(?: sie)?|vergiss|vergessen sie|verwirf"
        r"|umgehe|(?:ue|u)bergehe|befolge nicht|beachte nicht",
        r"alle[rn]?|vorherige[nr]?|bisherige[nr]?|obige[nr]?|vorangegangene[nr]?|vorigen?"
        r"|(?:fru|frue)here[nr]?|deine[nr]?|ihre[nr]?|urspr(?:u|ue)nglichen?",
        r"anweisung|instruktion|befehle?|vorgabe|regeln|(?:system-?)?prompt",
    ),
    _rule(
        "du bist|sie sind|ab jetzt|ab sofort",
        rf"\b(?:du bist|sie sind) (?:jetzt|nun|ab sofort) (?:\w+ ){{0,4}}?{_MACHINE}"
        r"|\bab (?:jetzt|sofort) (?:bist du|antworte(?:st)?|wirst du|sind sie|handle|verhalte)\b",
    ),
    _rule(
        "antworte|systemprompt|system-prompt|anweisung|klassifizier|kategorisier|kategorie|label",
        r"\bantworten?(?: sie)? (?:bitte )?(?:nur|ausschlie(?:ss|ß)lich|lediglich|immer|stets)"
        r"(?: noch)? (?:mit|auf|in)\b"
        rf"|\b(?:gib|geben sie|zeige?|verrate|nenne|wiederhole|drucke)\b{_GAP}"
        r"\b(?:system-?prompt|deine[nr]? anweisungen|systemanweisung)"
        r"|\b(?:gib|geben sie|setze|setzen sie) (?:\w+ )?(?:als )?(?:die )?(?:kategorie|label)\b"
        r"|\b(?:klassifiziere|kategorisiere)(?:n sie)? (?:dieses|diesen|das|den) "
        r"(?:dokument|text|artikel)\b",
    ),
)

_FRENCH = (
    _rule(
        "oublie|ignore & tout ce|le reste",
        r"\b(?:oublie[zr]?|ignore[zr]?) (?:tout ce qui precede|le reste (?:du|de ce) (?:texte"
        r"|document)|tout ce (?:qui est|que|qu))\b",
    ),
    _set_aside(
        "instruction|consigne|directive|regle|invite|prompt",
        r"ignore[rz]?|oublie[rz]?|neglige[rz]?|ne (?:tiens|tenez) pas compte|fai(?:s|tes)"
        r" abstraction|ne (?:suis|suivez) pas|contourne[rz]?",
        r"precedente?s?|ci-dessus|anterieure?s?|initiale?s?|toutes (?:les|tes|vos)|tes|vos"
        r"|qui precedent",
        r"instructions?|consignes?|directives?|regles|prompts?",
    ),
    _rule(
        "tu es|vous etes|desormais|dorenavant|a partir de maintenant",
        rf"\b(?:tu es|vous etes) (?:maintenant|desormais|dorenavant) (?:\w+ ){{0,4}}?{_MACHINE}"
        r"|\b(?:desormais|dorenavant|a partir de maintenant),? (?:tu (?:es|dois|reponds)"
        r"|vous devez|reponds|repondez|agis)\b",
    ),
    _rule(
        "repond|systeme|tes instructions|tes consignes|classe",
        r"\b(?:reponds|repondez|repondre) (?:uniquement|seulement|exclusivement|toujours)"
        r" (?:par|avec|en)\b"
        rf"|\b(?:revele|revelez|affiche|affichez|montre|montrez|repete|repetez)\b{_GAP}"
        r"\b(?:prompt|instructions|invite|message) (?:du )?systeme|\b(?:revele|affiche|montre)"
        rf"{_GAP}\btes (?:instructions|consignes)\b"
        r"|\b(?:classe|classez) ce (?:document|texte) (?:comme|dans)\b",
    ),
)

_SPANISH = (
    _rule(
        "olvid|ignor & todo lo|el resto",
        r"\b(?:olvid[ae]|ignor[ae]) (?:todo lo (?:anterior|que)|el resto (?:del|de este)"
        r" (?:texto|documento))\b",
    ),
    _set_aside(
        "instruccion|indicacion|regla|orden|directri|prompt",
        r"ignor[ae]d?|olvid[ae]|descart[ae]|omit[ae]|ha(?:z|ga) caso omiso"
        r"|no (?:sigas|siga|tengas en cuenta|tenga en cuenta)",
        r"anterior(?:es)?|previas?|de arriba|iniciales|todas (?:las|tus|sus)|tus"
        r"|que (?:te|le) (?:dieron|han dado)",
        r"instruccion(?:es)?|indicaciones|reglas|ordenes|directrices|prompts?",
    ),
    _rule(
        "ahora eres|ahora es|ahora usted|de ahora|partir de ahora",
        rf"\bahora (?:eres|usted es|es usted) (?:\w+ ){{0,4}}?{_MACHINE}"
        r"|\b(?:a partir de ahora|de ahora en adelante),? (?:eres|actua|actue|responde|responda"
        r"|debes)\b",
    ),
    _rule(
        "responde|responda|contesta|conteste|de sistema|del sistema|tus instrucciones|clasifi",
        r"\b(?:responde|responda|contesta|conteste) (?:solo|solamente|unicamente|exclusivamente"
        r"|siempre) (?:con|en)\b"
        rf"|\b(?:revel[ae]|muestr[ae]|imprim[ae]|repit[ae]|dime|diga)\b{_GAP}\b(?:(?:prompt"
        r"|instrucciones|mensaje) (?:de|del) sistema|tus instrucciones)\b"
        r"|\bclasifi(?:ca|que) este (?:documento|texto) como\b",
    ),
)

_PORTUGUESE = (
    _rule(
        "esquec|ignor|desconsider & tudo|o resto",
        r"\b(?:esquec[ae]|ignor[ae]|desconsider[ae]) (?:tudo (?:o que|acima)|o resto d[eo])\b",
    ),
    _set_aside(
        "instruco|orientaco|regra|orden|diretri|comando|prompt",
        r"ignor[ae]m?|esquec[ae]|desconsider[ae]|descart[ae]"
        r"|nao (?:siga|leve em conta)",
        r"anterior(?:es)?|acima|previas?|iniciais|todas as|todos os|suas|tuas",
        r"instrucoes|orientacoes|regras|ordens|diretrizes|comandos|prompts?",
    ),
    _rule(
        "agora|partir de agora",
        rf"\b(?:voce agora e|agora voce e|voce e agora) (?:\w+ ){{0,4}}?{_MACHINE}"
        r"|\b(?:a partir de agora|de agora em diante),? (?:voce (?:e|deve|vai)|responda|aja"
        r"|atue)\b",
    ),
    _rule(
        "responda |de sistema|do sistema|suas instrucoes|classifique",
        r"\bresponda (?:apenas|somente|so|unicamente|exclusivamente|sempre) (?:com|em)\b"
        rf"|\b(?:revel[ae]|mostr[ae]|exib[ae]|repit[ae])\b{_GAP}\b(?:(?:prompt|instrucoes|mensagem)"
        r" (?:de|do) sistema|suas instrucoes)\b"
        r"|\bclassifique este (?:documento|texto) como\b",
    ),
)

_ITALIAN = (
    _rule(
        "dimentic|ignor & tutto|il resto",
        r"\b(?:dimentica|dimenticate|ignora|ignorate) (?:tutto (?:quello|cio|quanto)|il resto"
        r" (?:del|di questo))\b",
    ),
    _set_aside(
        "istruzion|indicazion|regol|direttiv|comand|ordini|prompt",
        r"ignor(?:a|ate|i|are)|dimentic(?:a|ate|hi)|trascura(?:te)?|tralascia(?:te)?"
        r"|non (?:seguire|seguite|tenere conto|tenete conto)",
        r"precedent[ei]|(?:di cui )?sopra|anteriori|inizial[ei]|tutte le|tutti i|tue|tuoi|vostre",
        r"istruzion[ei]|indicazioni|regole|direttive|comandi|ordini|prompt",
    ),
    _rule(
        "ora sei|adesso sei|ora in poi|ora in avanti|adesso in poi|adesso in avanti",
        rf"\b(?:ora|adesso) sei (?:\w+ ){{0,4}}?{_MACHINE}"
        r"|\bd(?:a ora|'ora|a adesso) in (?:poi|avanti),? (?:sei|devi|rispondi|agisci)\b",
    ),
    _rule(
        "rispond|sistema|tue istruzioni|classifica",
        r"\brispond(?:i|ete|a) (?:solo|soltanto|solamente|unicamente|esclusivamente|sempre)"
        r" (?:con|in)\b"
        rf"|\b(?:rivela|mostra|stampa|ripeti)\b{_GAP}\b(?:(?:prompt|istruzioni|messaggio)"
        r" (?:di|del) sistema|tue istruzioni)\b"
        r"|\bclassifica questo (?:documento|testo) come\b",
    ),
)

_JAPANESE = (
    _rule(
        "無視|忘れ|従わ|破棄|取り消",
        r"(?:以前|これまで|今まで|上記|前|先ほど|先|すべて|全て|全|元|最初|以上)(?:の|まで)?"
        rf"{_CJK_GAP}(?:指示|命令|プロンプト|ルール|指令|制約|設定){_CJK_GAP}"
        r"(?:無視|忘れ|従わ|破棄|取り消)"
        r"|(?:上記|以上|前述|これまで)の(?:内容|文章|文)[はを](?:すべて|全て)?(?:無視し(?:て|ろ|、)|忘れ)",
    ),
    _rule(
        "あなたは|とだけ|だけで|のみ|プロンプト",
        r"(?:今から|これから|これ以降は?|今後は?)、?あなたは|あなたは(?:今から|これから|もう)"
        rf"|(?:とだけ|だけで|のみで?)(?:答え|(?:回答|返答|出力|返信|応答)し)(?:て|ろ|なさい)"
        rf"|システム・?プロンプト{_CJK_GAP}(?:教え|表示|出力|開示|見せ|公開|明か)",
    ),
)

_CHINESE = (
    _rule(
        "忽略|无视|忘记|忘掉|忽视|不要理会|無視|忘記|忽視|不要遵",
        r"(?:忽略|无视|忘记|忘掉|忽视|不要理会|無視|忘記|忽視|不要遵[守循])"
        rf"{_CJK_GAP}(?:之前|以上|上面|先前|前面|所有|此前|上述|全部|你的|系统|系統|原来|一切)"
        rf"{_CJK_GAP}(?:指令|指示|提示|说明|說明|命令|规则|規則|设定|設定|要求)"
        r"|请?(?:忽略|无视|忘记|忘掉|無視|忘記)(?:以上|上面|上述|之前)的?(?:所有|全部)?(?:内容|內容|文字|文本)",
    ),
    _rule(
        "你现在是|你現在是|现在起|現在起|在开始|在開始|你将扮演|你將扮演",
        r"你[现現]在是|(?:[从從])?[现現]在(?:起|开始|開始)[,、]?\s?(?:你|请你|請你)|你[将將]扮演",
    ),
    _rule(
        "只|仅|僅|提示|指令 & 答|回|出|返|示|透|诉|訴|露|重|打",
        r"(?:只|仅|僅)能?(?:回答|回复|回覆)|(?:请|請|你)(?:只|仅|僅)能?(?:输出|輸出|返回)"
        r"|(?:显示|顯示|透露|输出|輸出|告诉|告訴|泄露|洩露|重复|重複|打印)"
        rf"{_CJK_GAP}(?:系统提示|系統提示|提示词|提示詞|你的指令|系统指令|系統指令)",
    ),
)

RULES: tuple[Rule, ...] = (
    *_ENGLISH,
    *_GERMAN,
    *_FRENCH,
    *_SPANISH,
    *_PORTUGUESE,
    *_ITALIAN,
    *_JAPANESE,
    *_CHINESE,
)
