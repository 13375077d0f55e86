"""Collections in other languages than English, through the running server, as docs/languages.md tells."""

import pytest
from support.ingested import asking, ingested

GERMAN = {
    "leuchtturm.txt": "Der Leuchtturm von Ostrau wurde 1871 von der Ingenieurin Milada Novak gebaut. "
    "Er steht auf einem "
    "Felsen vor der Küste und weist den Schiffen den Weg.",
    "brot.txt": "Sauerteigbrot ruht zwölf Stunden, bevor es bei 230 Grad gebacken wird. Die Bäckerei öffnet um fünf.",
    "strassen.txt": "Die Straßen der Altstadt sind für Autos gesperrt. Anwohner haben einen "
    "Parkausweis, den sie an die "
    "Windschutzscheibe kleben.",
    "versicherung.txt": "Die Haftpflichtversicherung zahlt, wenn jemand anderem ein Schaden "
    "entsteht. Die Kündigungsfrist "
    "beträgt drei Monate zum Jahresende.",
    "datenbank.txt": "Die Datenbank speichert Zeilen in Tabellen. Der Parameter random_page_cost "
    "sagt dem Planer, was ein "
    "Zugriff auf die Festplatte kostet.",
    "haus.txt": "Die Häuser am Hafen haben rote Dächer. Viele Gäste kommen im Sommer und schwimmen im Meer.",
}
CHINESE = {
    "灯塔.txt": "奥斯特拉瓦湾的灯塔由工程师米拉达·诺瓦克于1871年建造。它矗立在海岸前的岩石上,为船只指引航向。",
    "面包.txt": "酸面包在二百三十度烘烤之前要发酵十二个小时。面包店早上五点开门。",
    "数据库.txt": "数据库把行保存在表中。参数 random_page_cost 告诉规划器读取磁盘的代价。自动清理会删除死行。",
    "保险.txt": "如果给他人造成损失,责任保险会赔偿。合同可以在年底前三个月解除。",
    "天气.txt": "明天北京有大雨,气温下降到五度。请带好雨伞,注意安全。",
}
JAPANESE = {
    "灯台.txt": "オストラヴァ湾の灯台は1871年に技師ミラダ・ノヴァクによって建てられました。",
    "パン.txt": "サワードウのパンは二百三十度で焼く前に十二時間発酵させます。パン屋は朝五時に開きます。",
    "データベース.txt": "データベースは行をテーブルに保存します。自動バキュームは不要な行を削除します。",
}
KOREAN = {
    "등대.txt": "오스트라바 만의 등대는 1871년에 기술자 밀라다 노바크가 지었습니다.",
    "빵.txt": "사워도우 빵은 230도에서 굽기 전에 열두 시간 동안 발효시킵니다.",
    "데이터베이스.txt": "데이터베이스는 행을 테이블에 저장합니다. 자동 정리는 죽은 행을 삭제합니다.",
}
CODE = {
    "planner.py": "def plan(query, random_page_cost=4.0):\n    # 规划器估计代价\n    return "
    "estimate_cost(query) * random_page_cost\n",
    "retry.py": "class RetryPolicy:\n    def backoff_seconds(self, attempt):\n        return min(60, 2 ** attempt)\n",
    "parser.ts": "export function parseHttpHeader(line: string): [string, string] {\n  return line.split(': ');\n}\n",
    "notes.md": "# Größen\n\nDie Puffer (`shared_buffers`) are set to 4GB; 重启之后生效.\n",
}


@pytest.fixture
def collection(database, settings, embedder, tmp_path):
    """Return a function that ingests texts in a language and serves them."""

    async def made(texts, language):
        await ingested(database, texts, embedder=embedder, folder=tmp_path, language=language)
        return asking(settings, embedder=embedder)

    return made


async def first(ask, question, **options):
    found = await ask.sources(question, **options)
    return found[0] if found else None


async def test_german_words_are_found_in_all_their_forms(collection):
    async with await collection(GERMAN, "german") as ask:
        for question, source in {
            "Wer baute den Leuchtturm?": "leuchtturm.txt",
            "Leuchttürme": "leuchtturm.txt",  # plural, with an umlaut
            "Wann öffnen die Bäckereien?": "brot.txt",
            "gesperrte Straße": "strassen.txt",
            "STRASSE": "strassen.txt",  # as a Swiss or an upper-case text writes it
            "Haus mit rotem Dach": "haus.txt",
            "Kündigungsfristen": "versicherung.txt",
            "random_page_cost": "datenbank.txt",
        }.items():
            assert await first(ask, question, mode="keyword") == source, question
            assert await first(ask, question, min_score=0) == source, question


async def test_german_stop_words_find_nothing(collection):
    async with await collection(GERMAN, "german") as ask:
        assert await ask.sources("der die das und oder nicht", mode="keyword") == []
        assert await first(ask, "das Brot und der Teig sind es nicht", mode="keyword") != "leuchtturm.txt"


async def test_a_part_of_a_german_compound_is_no_word_of_its_own(collection):
    """What is documented: PostgreSQL's dictionary takes compounds whole; the vectors help a little."""
    async with await collection(GERMAN, "german") as ask:
        assert await ask.sources("Turm", mode="keyword") == []
        assert await first(ask, "Haftpflicht", min_score=0) == "versicherung.txt"


@pytest.mark.parametrize(
    ("texts", "asked"),
    [
        (
            CHINESE,
            {
                "谁建造了灯塔?": "灯塔.txt",
                "酸面包要发酵多久": "面包.txt",
                "自动清理": "数据库.txt",
                "责任保险什么时候赔偿?": "保险.txt",
                "北京明天的天气": "天气.txt",
                "random_page_cost": "数据库.txt",
                "参数random_page_cost是什么": "数据库.txt",
                "1871年": "灯塔.txt",
            },
        ),
        (
            JAPANESE,
            {
                "灯台は誰が建てましたか": "灯台.txt",
                "パンは何時間発酵させますか": "パン.txt",
                "自動バキューム": "データベース.txt",
                "データベース": "データベース.txt",  # half as wide, as a keyboard may write it
            },
        ),
        (
            KOREAN,
            {
                "등대를 누가 지었습니까": "등대.txt",
                "사워도우 빵": "빵.txt",
                "데이터베이스 자동 정리": "데이터베이스.txt",
            },
        ),
    ],
)
@pytest.mark.parametrize("mode", ["keyword", "hybrid"])
async def test_texts_without_blanks_between_words_are_found_by_their_words(collection, texts, asked, mode):
    """With the bundled English model, and no word of settings: hybrid must not be kept from what the words find."""
    async with await collection(texts, "simple") as ask:
        for question, source in asked.items():
            assert await first(ask, question, mode=mode) == source, question


async def test_chinese_words_that_are_nowhere_find_nothing_by_words(collection):
    async with await collection(CHINESE, "simple") as ask:
        assert await ask.sources("足球比赛", mode="keyword") == []


async def test_a_chinese_phrase_comes_first(collection):
    texts = CHINESE | {"清理.txt": "自动关灯。清理灯塔的人每天早上来。"}
    async with await collection(texts, "simple") as ask:
        assert await first(ask, '"自动清理" 灯塔', mode="keyword") == "数据库.txt"


@pytest.mark.parametrize("mode", ["keyword", "hybrid"])
async def test_code_and_mixed_texts_are_found_by_their_names(collection, mode):
    async with await collection(CODE, "simple") as ask:
        for question, source in {
            "random_page_cost": "planner.py",
            "backoff_seconds": "retry.py",
            "RetryPolicy": "retry.py",
            "retrypolicy": "retry.py",
            "parseHttpHeader": "parser.ts",
            "shared_buffers": "notes.md",
            "规划器估计": "planner.py",
            "重启": "notes.md",
            "Größen": "notes.md",
        }.items():
            assert await first(ask, question, mode=mode) == source, question


async def test_the_same_question_in_another_language_than_the_documents_is_answered_by_names_and_numbers(collection):
    async with await collection(GERMAN, "german") as ask:
        assert await first(ask, "Who is Milada Novak?") == "leuchtturm.txt"
        assert await first(ask, "What does random_page_cost mean?") == "datenbank.txt"
