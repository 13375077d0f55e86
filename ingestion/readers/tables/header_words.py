"""Words that name columns: what tells ``Name, Town`` from ``Ulla, Kelmouth`` where no type of value does."""

from __future__ import annotations

import re

_LIST = """
abbreviation account action active activity actual address adresse age agency aim alias altitude amount answer
answers area article assignee attribute audience author authors average balance bank batch begin begins birthday
board body brand budget building cap capacity capital captain carrier cas category cause caption change channel
chapter charge city class client closed code cohort colour color column comment comments commodity company
component condition constellation contact content continent contract coordinates cost costs count country county
course created crew crop currency customer data database date day days deadline dean debit credit default
definition delivery department depth description designation destination detail details device diameter director
discount disease distance district document domain due duration effect elevation email employee end ends entity
entry equipment error evaluation event example expected expiry explanation factor family feature fee fees
field file finish firm first flag floor flow focus food format formula founded founder frequency from fruit fuel
function gauge gender genre gift given goal grade grant gross group grounds hall head headquarters height holder
home host hours id identifier impact index industry info inhabitants ingredient input instruction instrument
interval invoice issue item items job key keyword kind label lake landmark language last latitude lead leader
legend length level license limit line link list location longitude machine mail maintainer make maker manager
manufacturer margin mark material maximum mayor mean meaning measure medium member members message method metal
metric minimum ministry mission mode model module month mountain movement name names nation net nickname nominal
note notes notice number object occupation office officer operator option options order organisation organization
origin output owner page parameter parent part participant partner party password patient payment people percent
percentage period person phase phone pilot place plan planet plant player point policy population port position
postcode power predecessor preis president price priority procedure process producer product profession profile
profit program project property provider province publisher purpose quality quantity quarter question range rank
rate rating ratio reason recipient record reference region registration relation release remark remarks
rent reply report requirement resident resource responsible response result results revenue review rhythm risk
river role room route ruler rule runtime salary sales sample schedule school scope score season section sector
sender sensor serial series service session setting severity sex share ship shipment side site size skill
skipper slot source species speed sport staff stage standard start starts state station status step stock stop
storage street string student style subject sum summary supervisor supplier surname symbol symptom
system table tag target task tax teacher team tel telephone temperature term test text theme threshold ticket time
timestamp title to tool topic total town track trade trainer translation transport treatment tree trigger turnover
type unit until update url use user username usage valid value values variable variant vehicle vendor version
vessel village visitors volume vote wage warehouse weather week weight width winner word work worker year
years yield zip zone
abteilung adresse aktion alter amt anfang angebot ansprechpartner anzahl art artikel aufgabe autor bahnhof bauteil
bearbeiter bedeutung beginn beispiel bemerkung bereich berg beruf beschreibung bestand betrag betreff bezeichnung
bild buch bundesland datum dauer einheit einwohner ende ergebnis erklärung fach fahrzeug familienname farbe fehler
firma fluss frage funktion gebiet gebühr geburtstag gehalt gerät geschlecht gewicht gewinn größe gruppe
hauptstadt hersteller hinweis höhe inhalt jahr kategorie kennung klasse kommentar kosten kunde kürzel lage lager
land länge lehrer leistung leiter lieferant lieferung maßnahme material menge merkmal monat nachname nr nummer ort
partei pflanze platz plz position preis priorität produkt projekt quelle rang raum region rolle sache schule seite
sorte spalte sprache stadt stand standort status stelle straße stück summe tag technik teil telefon termin thema
tier titel typ uhrzeit umsatz unternehmen ursache verantwortlich verein verfasser version vorname währung ware wert
werk zahl zeichen zeit zeitraum ziel zimmer zuständig zustand zweck
âge auteur adresse année bureau catégorie chef client commentaire commune coût date début département description
durée effectif état exemple fin fonction fournisseur genre heure jour langue lieu livre métier mois montant nom
note numéro objet pays poids poste prénom prix produit projet quantité question rang réponse responsable région
rôle rue salle section sexe statut sujet taille tâche taux téléphone titre total unité valeur ville
año apellido apellidos área autor calle cantidad cargo categoría ciudad cliente código comentario correo costo
departamento descripción dirección edad ejemplo empresa estado fecha fin género hora idioma inicio lugar mes
moneda monto nombre nota número país palabra persona peso precio producto profesión provincia proyecto puesto
región responsable resultado sexo tarea tasa teléfono tema tipo título unidad valor
anno azienda categoria città cliente codice cognome costo data descrizione età fine importo indirizzo inizio lingua
luogo mese nazione nome numero paese peso persona prezzo prodotto professione progetto provincia quantità regione
risultato ruolo stato tipo titolo totale unità valore via
aantal adres afdeling beroep beschrijving categorie datum eenheid functie gemeente hoofdstad jaar klant
land leeftijd leverancier maand naam nummer omschrijving opmerking persoon plaats prijs soort stad taak titel
toelichting totaal vak voornaam waarde
ano bairro cidade cliente código descrição endereço estado idade início nome número país preço produto quantidade
responsável tarefa telefone título valor
adres cena data ilość imię ilosc kod kraj kwota miasto miejsce nazwa nazwisko numer opis osoba rok rodzaj status
tytuł uwagi wartość wiek
adresa cena datum jméno kód město název popis poznámka příjmení počet rok stát typ ulice
név ár város dátum mennyiség megnevezés cím összeg ország
namn pris antal datum ort stad land summa benämning navn antall nimi hinta määrä päivä
имя фамилия город страна дата цена номер название адрес год описание количество сумма должность
姓名 名称 名前 氏名 城市 都市 国家 国 日期 日付 価格 价格 数量 电话 住所 地址 备注 備考 番号 编号
"""
_WORDS = frozenset(_LIST.split())
_PARTS = re.compile(r"[^\W\d_]+")
_CAMEL = re.compile(r"[a-z]+(?:[A-Z][a-z]+)+|[a-z]+(?:_[a-z0-9]+)+")
_MARKED = re.compile(r".*(?:[:?#%]|\([^()]{1,20}\)|\[[^\[\]]{1,20}\]|\b(?:no|nr|id)\.?)", re.IGNORECASE)
_MOST_WORDS = 6  # of a name; a longer text has some such word by chance


def names_a_column(cell: str) -> bool:
    """Tell whether a cell has a word, or a form, that names columns: ``Town``, ``unit_price``, ``Length (m)``."""
    text = " ".join(cell.split())
    if not text or len(text) > 80:  # noqa: PLR2004 (characters of a sentence)
        return text.endswith("?")
    if _CAMEL.fullmatch(text) or (_MARKED.fullmatch(text) and not text[0].isdigit()):
        return True
    words = _PARTS.findall(text.lower())
    ends = {*words[:1], *words[-1:]}
    return len(words) <= _MOST_WORDS and any(word in _WORDS or word.removesuffix("s") in _WORDS for word in ends)
