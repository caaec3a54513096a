//! Plain sentences in many languages, each of which version 2 of folding finds however somebody types it.

use icu_normalizer::{ComposingNormalizer, DecomposingNormalizer};
use read_model::folding::fold;
use read_model::{FoldingVersion, SearchText};

/// A language, and its sentences. Beside each is a piece of it as people also type it: without accents, points or
/// characters that show nothing, or with the signs of another keyboard.
type Language = (&'static str, &'static [(&'static str, &'static str)]);

const LANGUAGES: &[Language] = &[
    ("Afrikaans", &[("Môre drink ons koffie by die see.", "MORE drink"), ("Sy’t ’n brief geskryf.", "sy't 'n")]),
    ("Albanian", &[("Sot është një ditë e bukur.", "eshte nje dite"), ("Unë dua çaj të nxehtë.", "une dua caj")]),
    ("Amharic", &[("ዛሬ ጥሩ ቀን ነው።", "ጥሩ ቀን"), ("ቡና እንጠጣ።", "ቡና")]),
    (
        "Arabic",
        &[
            ("ذَهَبَ أَحْمَدُ إِلَى السُّوقِ.", "ذهب احمد الى السوق"),
            ("شـــكرًا جزيلًا يا أصدقاء!", "شكرا جزيلا"),
            ("الباب الأزرق مفتوح الآن.", "الازرق مفتوح الان"),
        ],
    ),
    ("Armenian", &[("Այսօր լավ օր է և արև։", "եւ ԱՐԵՒ"), ("Նա սուրճ է խմում։", "ՍՈՒՐՃ")]),
    ("Azerbaijani", &[("İşıq söndü, ığdır soyuqdur.", "isiq sondu, igdir"), ("Mən çay içirəm.", "cay icirəm")]),
    ("Basque", &[("Gaur eguraldi ona dago.", "EGURALDI"), ("Iñaki etxera doa.", "inaki")]),
    ("Belarusian", &[("Сёння добрае надвор’е.", "сення добрае надвор'е"), ("Ён піша ліст.", "ен піша")]),
    ("Bengali", &[("আজ আকাশ পরিষ্কার।", "আকাশ পরিষ্কার"), ("সে বাড়ি যায়।", "বাড়ি যায়")]),
    ("Bulgarian", &[("Днес времето е хубаво.", "ВРЕМЕТО"), ("Ѝ дадох книгата.", "и дадох")]),
    ("Burmese", &[("ဒီနေ့ ရာသီဥတု ကောင်းတယ်။", "ရာသီဥတု"), ("ကော်ဖီ သောက်မယ်။", "ကော်ဖီ")]),
    ("Catalan", &[("L’àvia té una col·lecció preciosa.", "l'avia te una col·leccio"), ("Demà plourà.", "dema ploura")]),
    ("Cherokee", &[("ᎣᏏᏲ, ᏙᎯᏧ?", "ꭳꮟᏺ"), ("ꮳꮃꭹ ᎦᏬᏂᎯᏍᏗ.", "ᏣᎳᎩ")]),
    ("Chinese", &[("今天天氣很好，我們去喝茶。", "天氣很好"), ("他买了７把钥匙。", "买了7把")]),
    ("Croatian", &[("Đak čeka vlak u Šibeniku.", "dak ceka vlak"), ("Ðurđa piše pismo.", "ĐURĐA pise")]),
    (
        "Czech",
        &[("Příliš žluťoučký kůň pil vodu.", "prilis zlutoucky kun"), ("„Dobrý den,“ řekla.", "\"dobry den,\" rekla")],
    ),
    ("Danish", &[("Rødgrød med fløde på bordet.", "rodgrod med flode"), ("Ærø er en smuk ø.", "aero er en smuk o")]),
    (
        "Dutch",
        &[("Één ĳskoud biertje, alsjeblieft.", "EEN IJSKOUD"), ("’s Avonds regent het in de ruïne.", "'s avonds")],
    ),
    (
        "English",
        &[
            ("The captain can’t find the “blue” door.", "can't find the \"blue\""),
            ("A naïve encyclopædia in the café.", "naive ENCYCLOPAEDIA in the cafe"),
        ],
    ),
    (
        "Esperanto",
        &[("Ĉiuj ĥoroj kantas ĝoje.", "ciuj horoj kantas goje"), ("La ŝuo kaj la ĵurnalo.", "suo kaj la jurnalo")],
    ),
    ("Estonian", &[("Täna on külm öö.", "tana on kulm oo"), ("Õunad on laual.", "ounad")]),
    ("Ewe", &[("Ɖevi la le xɔme.", "ɖevi"), ("Ŋkɔnye nye Kofi.", "ŋkɔnye")]),
    ("Finnish", &[("Äiti söi jäätelöä.", "aiti soi jaateloa"), ("Yö on pitkä.", "yo on pitka")]),
    (
        "French",
        &[
            ("L’été, ma sœur préfère la crème brûlée.", "l'ete, ma soeur prefere"),
            ("Où ça mène, ce cœur brisé ?", "OU CA MENE, CE COEUR"),
        ],
    ),
    ("Georgian", &[("დღეს კარგი ამინდია.", "ᲓᲦᲔᲡ ᲙᲐᲠᲒᲘ"), ("ჩაის ვსვამ.", "ჩაის")]),
    (
        "German",
        &[
            ("Die Straße ist größer als das Maß.", "STRASSE ist grosser"),
            ("Der Donau\u{ad}dampfer fährt übermorgen.", "donaudampfer fahrt ubermorgen"),
        ],
    ),
    (
        "Greek",
        &[
            ("Ο ήλιος ζωγραφίζει τους δρόμους.", "ο ηλιος ζωγραφιζει ΤΟΥΣ ΔΡΟΜΟΥΣ"),
            ("ἐν ἀρχῇ ἦν ὁ λόγος τῷ ᾅδῃ.", "ΕΝ ΑΡΧΗΙ ΗΝ Ο ΛΟΓΟΣ ΤΩΙ ΑΙΔΗΙ"),
        ],
    ),
    ("Gujarati", &[("આજે હવામાન સારું છે.", "હવામાન સારું"), ("તે ચા પીએ છે.", "ચા પીએ")]),
    ("Hausa", &[("Ƙofa tana buɗe.", "ƙofa"), ("Ya sha ruwan sanyi.", "RUWAN")]),
    (
        "Hawaiian",
        &[("Aloha mai ʻoukou ma Hawaiʻi.", "'oukou ma hawai'i"), ("Ua ʻai ke keiki i ka iʻa.", "'ai ke keiki")],
    ),
    ("Hebrew", &[("שָׁלוֹם לְכֻלָּם, מַה שְּׁלוֹמְכֶם?", "שלום לכלם, מה שלומכם"), ("צה״ל ג׳ירפה ורכבת.", "צה\"ל ג'ירפה")]),
    ("Hindi", &[("आज मौसम अच्छा है।", "मौसम अच्छा"), ("नीला दरवाज़ा बंद है।", "नीला दरवाज\u{93c}ा")]),
    ("Hungarian", &[("Árvíztűrő tükörfúrógép.", "arvizturo tukorfurogep"), ("Ő kávét iszik.", "o kavet")]),
    ("Icelandic", &[("Guðrún sér ævintýri.", "gudrun ser aevintyri"), ("Það er kalt í dag.", "ÞAD ER")]),
    ("Igbo", &[("Ụbọchị ọma nnọọ.", "ubochi oma nnoo"), ("Anyị na-aṅụ mmiri.", "anyi na-anu")]),
    ("Indonesian", &[("Hari ini cuaca cerah.", "CUACA"), ("Dia menulis surat.", "surat")]),
    ("Irish", &[("Tá an ḃean ag ól tae.", "ta an bean ag ol"), ("Éire go brách.", "eire go brach")]),
    ("Italian", &[("Perché l’università è chiusa?", "perche l'universita e chiusa"), ("Così va il mondo.", "COSI")]),
    (
        "Japanese",
        &[("船長は青いドアを忘れた。", "青いト\u{3099}ア"), ("ﾊﾟﾝとｺｰﾋｰを①つください。", "パンとコーヒーを1つ")],
    ),
    ("Kannada", &[("ಇಂದು ಹವಾಮಾನ ಚೆನ್ನಾಗಿದೆ.", "ಹವಾಮಾನ"), ("ಅವನು ಮನೆಗೆ ಹೋದನು.", "ಮನೆಗೆ")]),
    ("Kazakh", &[("Бүгін ауа райы жақсы.", "БҮГІН"), ("Ғалым мен қыз.", "ғалым")]),
    ("Khmer", &[("ថ្ងៃនេះ\u{200b}អាកាសធាតុ\u{200b}ល្អ។", "ថ្ងៃនេះអាកាសធាតុល្អ"), ("ខ្ញុំផឹកកាហ្វេ។", "កាហ្វេ")]),
    ("Korean", &[("선장은 파란 문을 잊었다.", "파란 문을"), ("이웃집 고양이가 ７개.", "고양이가 7개")]),
    ("Lao", &[("ມື້ນີ້ອາກາດດີ.", "ອາກາດດີ"), ("ຂ້ອຍດື່ມນໍ້າ.", "ດື່ມນໍ້າ")]),
    (
        "Latvian",
        &[("Šodien ir jauka diena ķēkā.", "sodien ir jauka diena keka"), ("Ģirts lasa žurnālu.", "girts lasa zurnalu")],
    ),
    (
        "Lithuanian",
        &[("Šiandien gražus oras ąžuole.", "siandien grazus oras azuole"), ("Jis rašo laišką.", "raso laiska")],
    ),
    ("Macedonian", &[("Ѓорѓи пие кафе.", "горги пие"), ("Ќе дојдам утре.", "ке дојдам")]),
    ("Malayalam", &[("ഇന്ന് നല്ല ദിവസം.", "നല്ല ദിവസം"), ("അവൻ വീട്ടിൽ പോയി.", "വീട്ടിൽ")]),
    (
        "Maltese",
        &[("Il-Ħamrun hija belt żgħira.", "il-hamrun hija belt zghira"), ("Ġużè jixrob il-kafè.", "guze jixrob")],
    ),
    ("Marathi", &[("आज पाऊस पडत आहे.", "पाऊस पडत"), ("तो पुस्तक वाचतो.", "पुस्तक")]),
    ("Mongolian", &[("Өнөөдөр цаг агаар сайхан.", "ӨНӨӨДӨР"), ("Тэр цай ууж байна.", "цай ууж баина")]),
    ("Nepali", &[("आज मौसम राम्रो छ।", "मौसम राम्रो"), ("ऊ चिया पिउँछ।", "चिया पिउँछ")]),
    (
        "Norwegian",
        &[("Blåbærsyltetøy på brødet.", "blabaersyltetoy pa brodet"), ("Ørnen flyr høyt.", "ORNEN flyr hoyt")],
    ),
    ("Odia", &[("ଆଜି ପାଗ ଭଲ ଅଛି।", "ପାଗ ଭଲ"), ("ସେ ଘରକୁ ଗଲା।", "ଘରକୁ")]),
    ("Pashto", &[("نن هوا ښه ده.", "هوا ښه"), ("هغه کتاب لولي.", "کتاب")]),
    (
        "Persian",
        &[("من می\u{200c}خواهم کتاب\u{200c}ها را بخوانم.", "میخواهم کتابها"), ("خانهٔ ما آبی است.", "خانه ما ابی")],
    ),
    (
        "Polish",
        &[
            ("Zażółć gęślą jaźń w Łodzi.", "zazolc gesla jazn w lodzi"),
            ("„Źle” — powiedział ŁUKASZ.", "\"zle\" — powiedzial lukasz"),
        ],
    ),
    (
        "Portuguese",
        &[("Não há pão às três da manhã.", "nao ha pao as tres"), ("O avô comprou açúcar.", "avo comprou acucar")],
    ),
    ("Punjabi", &[("ਅੱਜ ਮੌਸਮ ਚੰਗਾ ਹੈ।", "ਮੌਸਮ ਚੰਗਾ"), ("ਉਹ ਚਾਹ ਪੀਂਦਾ ਹੈ।", "ਚਾਹ")]),
    ("Romanian", &[("Știința și țara în două limbi.", "stiinta si tara in doua"), ("Şi ţara mea.", "și țara")]),
    ("Russian", &[("Ёжик нашёл зелёный чай и йод.", "ежик нашел зеленый чаи"), ("Подъезд закрыт.", "ПОДЪЕЗД")]),
    ("Sámi", &[("Dat lea buorre beaivi Ŧ ja đ.", "beaivi t ja d"), ("Čáhci lea galmmas.", "cahci")]),
    ("Sanskrit", &[("अ॒ग्निमी॑ळे पु॒रोहि॑तम्।", "अग्निमीळे पुरोहितम्"), ("सत्यमेव जयते।", "सत्यमेव")]),
    ("Serbian", &[("Ђорђе пије чај.", "ЂОРЂЕ"), ("Đorđe pije čaj.", "dorde pije caj")]),
    ("Sinhala", &[("අද කාලගුණය හොඳයි.", "කාලගුණය"), ("ඔහු ශ්\u{200d}රී ලංකාවේ ය.", "ශ්රී ලංකාවේ")]),
    (
        "Slovak",
        &[("Kôň pije čerstvú vodu.", "kon pije cerstvu vodu"), ("Ľubica píše ťažký list.", "lubica pise tazky")],
    ),
    ("Slovenian", &[("Danes je lepo vreme v Žalcu.", "zalcu"), ("Čebela išče rožo.", "cebela isce rozo")]),
    ("Somali", &[("Maanta cimiladu way fiican tahay.", "CIMILADU"), ("Wuxuu cabbayaa shaah.", "shaah")]),
    (
        "Spanish",
        &[
            ("¿Quién pintó la canción del pingüino?", "quien pinto la cancion del pinguino"),
            ("Mañana será otro año.", "manana sera otro ano"),
        ],
    ),
    ("Swahili", &[("Leo hali ya hewa ni nzuri.", "HEWA"), ("Ng’ombe anakunywa maji.", "ng'ombe")]),
    ("Swedish", &[("Åsa äter öl och smörgås.", "asa ater ol och smorgas"), ("Räksmörgås på bordet.", "raksmorgas")]),
    ("Syriac", &[("ܫܠܳܡܳܐ ܥܰܠܝܟܽܘܢ.", "ܫܠܡܐ ܥܠܝܟܘܢ"), ("ܟܬܒܐ ܗܢܐ ܛܒܐ.", "ܟܬܒܐ")]),
    ("Tamil", &[("இன்று வானிலை நன்றாக உள்ளது.", "வானிலை"), ("அவன் வீட்டிற்குப் போனான்.", "போனான்")]),
    ("Telugu", &[("ఈ రోజు వాతావరణం బాగుంది.", "వాతావరణం"), ("అతను టీ తాగుతాడు.", "తాగుతాడు")]),
    ("Thai", &[("วันนี้อากาศดีมาก", "อากาศดี"), ("เขาดื่มน้ำเย็น", "น้\u{e4d}าเย็น")]),
    ("Tibetan", &[("དེ་རིང་གནམ་གཤིས་བཟང་པོ་རེད།", "གནམ་གཤིས"), ("ཁོས་ཇ་འཐུང་གི་འདུག", "ཇ་འཐུང")]),
    (
        "Turkish",
        &[
            ("IŞIK söndü, İstanbul’da yağmur var.", "ışık sondu, istanbul'da yagmur"),
            ("Küçük kız ığdır’ı görüyor.", "KUCUK KIZ IGDIR'I"),
        ],
    ),
    (
        "Ukrainian",
        &[("П’ять м’ячів і їжак.", "п'ять м'ячів і іжак"), ("Ґудзик на під\u{2bc}їзді.", "ґудзик на під'ізді")],
    ),
    ("Urdu", &[("آج موسم اچھا ہے۔", "اج موسم"), ("وہ چائے پیتا ہے۔", "چائے")]),
    ("Uzbek", &[("Oʻzbekiston go\u{2019}zal yurt.", "o'zbekiston go'zal"), ("Bugun havo yaxshi.", "HAVO")]),
    (
        "Vietnamese",
        &[
            ("Chuyến tàu ở Đà Nẵng đến trễ.", "chuyen tau o da nang den tre"),
            ("Ngày mai trời mưa to.", "NGAY MAI TROI MUA"),
        ],
    ),
    ("Welsh", &[("Mae’r tŷ ŵyna yn wag.", "mae'r ty wyna"), ("Bore da, sut dach chi?", "DACH")]),
    ("Yiddish", &[("מײַן ייִדיש בוך איז נײַ.", "מיין יידיש"), ("װאָס מאַכסטו?", "וואס מאכסטו")]),
    ("Yoruba", &[("Ẹ káàárọ̀, ṣé dáadáa ni?", "e kaaaro, se daadaa"), ("Ọjọ́ dára púpọ̀.", "ojo dara pupo")]),
    ("Zulu", &[("Namuhla izulu lihle.", "IZULU"), ("Ubaba uphuza itiye.", "itiye")]),
];

fn bodies() -> Vec<&'static str> {
    LANGUAGES.iter().flat_map(|(_, sentences)| sentences.iter().map(|(body, _)| *body)).collect()
}

/// The bodies that a search for a text finds.
fn find(version: FoldingVersion, text: &str, bodies: &[&'static str]) -> Vec<&'static str> {
    let text = SearchText::new(text).expect("a text to search for");
    let text = text.folded(version);
    bodies.iter().copied().filter(|body| text.is_in(&fold(version, body))).collect()
}

fn compose(text: &str) -> String {
    ComposingNormalizer::new_nfc().normalize(text).into_owned()
}

fn decompose(text: &str) -> String {
    DecomposingNormalizer::new_nfd().normalize(text).into_owned()
}

#[test]
fn every_body_is_found_by_itself_in_any_case_and_form_of_unicode() {
    let bodies = bodies();
    for body in &bodies {
        let [upper, lower] = [body.to_uppercase(), body.to_lowercase()];
        let forms =
            [*body, &upper, &lower].into_iter().flat_map(|case| [compose(case), decompose(case), case.to_owned()]);
        for form in forms {
            assert_eq!(find(FoldingVersion::V2, &form, &bodies), [*body], "{form}");
        }
    }
}

#[test]
fn version_1_finds_every_body_by_itself_in_any_form_of_unicode() {
    let bodies = bodies();
    for body in &bodies {
        for form in [compose(body), decompose(body)] {
            assert_eq!(find(FoldingVersion::V1, &form, &bodies), [*body], "{form}");
        }
    }
}

#[test]
fn every_body_is_found_as_people_type_it() {
    let bodies = bodies();
    for (language, sentences) in LANGUAGES {
        for (body, typed) in *sentences {
            for typed in [typed.to_uppercase(), typed.to_lowercase(), (*typed).to_owned()] {
                assert!(find(FoldingVersion::V2, &typed, &bodies).contains(body), "{language}: {typed} is in {body}");
            }
        }
    }
}
