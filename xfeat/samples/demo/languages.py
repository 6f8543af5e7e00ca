"""The words for zero to nine in many languages and scripts; one line per language or spelling, digits in order."""

_TABLE = """
English: zero one two three four five six seven eight nine
German: null eins zwei drei vier fünf sechs sieben acht neun
Dutch: nul een twee drie vier vijf zes zeven acht negen
Swedish: noll ett två tre fyra fem sex sju åtta nio
Danish: nul en to tre fire fem seks syv otte ni
French: zéro un deux trois quatre cinq six sept huit neuf
Spanish: cero uno dos tres cuatro cinco seis siete ocho nueve
Portuguese: zero um dois três quatro cinco seis sete oito nove
Catalan: zero u dos tres quatre cinc sis set vuit nou
Italian: zero uno due tre quattro cinque sei sette otto nove
Romanian: zero unu doi trei patru cinci șase șapte opt nouă
Latin: nulla unus duo tres quattuor quinque sex septem octo novem
Esperanto: nulo unu du tri kvar kvin ses sep ok naŭ
Polish: zero jeden dwa trzy cztery pięć sześć siedem osiem dziewięć
Czech: nula jedna dva tři čtyři pět šest sedm osm devět
Slovenian: nič ena dve tri štiri pet šest sedem osem devet
Croatian: nula jedan dva tri četiri pet šest sedam osam devet
Russian: ноль один два три четыре пять шесть семь восемь девять
Russian in Latin: nol odin dva tri chetyre pyat shest sem vosem devyat
Ukrainian: нуль один два три чотири п'ять шість сім вісім дев'ять
Bulgarian: нула едно две три четири пет шест седем осем девет
Lithuanian: nulis vienas du trys keturi penki šeši septyni aštuoni devyni
Greek: μηδέν ένα δύο τρία τέσσερα πέντε έξι επτά οκτώ εννέα
Greek in Latin: miden ena dyo tria tessera pente exi epta okto ennea
Finnish: nolla yksi kaksi kolme neljä viisi kuusi seitsemän kahdeksan yhdeksän
Hungarian: nulla egy kettő három négy öt hat hét nyolc kilenc
Turkish: sıfır bir iki üç dört beş altı yedi sekiz dokuz
Arabic: صفر واحد اثنان ثلاثة أربعة خمسة ستة سبعة ثمانية تسعة
Hebrew: אפס אחת שתיים שלוש ארבע חמש שש שבע שמונה תשע
Persian: صفر یک دو سه چهار پنج شش هفت هشت نه
Hindi: शून्य एक दो तीन चार पाँच छह सात आठ नौ
Hindi in Latin: shunya ek do teen char paanch chhah saat aath nau
Chinese: 零 一 二 三 四 五 六 七 八 九
Chinese in Latin: líng yī èr sān sì wǔ liù qī bā jiǔ
Japanese: ゼロ いち に さん よん ご ろく なな はち きゅう
Japanese in Latin: zero ichi ni san yon go roku nana hachi kyuu
Korean: 영 하나 둘 셋 넷 다섯 여섯 일곱 여덟 아홉
Korean in Latin: yeong hana dul set net daseot yeoseot ilgop yeodeol ahop
Thai: ศูนย์ หนึ่ง สอง สาม สี่ ห้า หก เจ็ด แปด เก้า
Vietnamese: không một hai ba bốn năm sáu bảy tám chín
Indonesian: nol satu dua tiga empat lima enam tujuh delapan sembilan
Swahili: sifuri moja mbili tatu nne tano sita saba nane tisa
Roman numerals: N I II III IV V VI VII VIII IX
Arabic numerals: ٠ ١ ٢ ٣ ٤ ٥ ٦ ٧ ٨ ٩
"""

NUMBER_WORDS: dict[str, tuple[str, ...]] = {
    language: tuple(words.split()) for language, words in (line.split(": ") for line in _TABLE.strip().splitlines())
}
