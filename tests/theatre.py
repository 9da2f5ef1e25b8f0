"""A playbook that uses every key of the language, as a person would write it."""

from pathlib import Path

from services.engine.playbook.kinds import Section

FILES = {
    "playbook.yaml": """\
name: theatre
description: What to tell the visitors of a theatre.
time_zone: Europe/Vienna
currency: EUR
objective: propensity
measures:
  applause:
    description: How long they clap
    from: 0
    to: 10
    worth: 0.25
threshold: 0.10
minimum_propensity: 0.01
exploration:
  method: epsilon
  epsilon: 0.05
control_arms:
  random_eligible: 0.01
  hold_out: 0.02
slate:
  most_per_group: 2
  most_per_channel: 3
purposes:
  marketing:
    description: Offers
    use: contact
  service:
    description: What concerns a visit
  research:
    description: Looking at what was seen
    use: data
  surveys:
    description: Not yet
    use: data
channels:
  email:
    description: Letters
    delay: 4h
  screen:
    description: In the foyer
    public: true
  desk:
    description: The box office
    recipient: actor
    inbound: true
devices:
  phone:
    description: In the hand
  tablet:
    hours:
      from: "19:00"
      to: "22:30"
context:
  stage:
    type: enum
    values: [main, studio]
    description: Where the visit is
  queue:
    type: integer
    provenance: borrowed
  greeting:
    type: string
    provenance: displayed
""",
    "profile.yaml": """\
identities:
  card:
    description: Number of the card
attributes:
  age:
    type: integer
    description: In years
  first_name:
    type: string
    provenance: owned
  tier:
    type: enum
    values:
      - basic
      - patron
  subscribed_until:
    type: timestamp
    provenance: copied
    max_age: 30d
  donated:
    type: decimal
    scale: 2
    consent: research
  mood:
    type: string
    provenance: borrowed
    max_age: 1h
  nickname:
    type: string
    provenance: displayed
""",
    "events.yaml": """\
events:
  visit:
    description: Somebody came
    consent: research
    attributes:
      seats:
        type: integer
        description: How many came
      paid:
        type: decimal
        scale: 2
      genre:
        type: enum
        values: [drama, opera, dance]
      rating:
        type: number
      premiere:
        type: boolean
  booked:
    attributes:
      campaign:
        type: string
      hall:
        type: string
  seated:
    attributes:
      hall:
        type: string
      campaign:
        type: string
  gone:
    attributes:
      hall:
        type: string
""",
    "features.yaml": """\
features:
  visits:
    kind: count
    description: In a year
    event: visit
    window: 365d
    where:
      genre: opera
      premiere: true
  paid:
    kind: sum
    event: visit
    attribute: paid
  seats:
    kind: mean
    event: visit
    attribute: seats
  worst:
    kind: min
    event: visit
    attribute: rating
  best:
    kind: max
    event: visit
    attribute: rating
  first_genre:
    kind: first
    event: visit
    attribute: genre
  last_genre:
    kind: last
    event: visit
    attribute: genre
  paid_daily:
    kind: rate
    event: visit
    attribute: paid
    window: 90d
  paid_lately:
    kind: decayed
    event: visit
    attribute: paid
    half_life: 30d
  visit_days:
    kind: recency
    event: visit
  standing:
    kind: open
    event: booked
    key: hall
    closed_by: [seated, gone]
    window: 3h
  queueing:
    kind: open
    event: seated
    key: hall
    closed_by: [booked]
  lingering:
    kind: open
    event: seated
    key: hall
    closed_by: [gone]
    max_age: 2h
    default: -1
  visit_rhythm:
    kind: interval
    event: visit
  genres:
    kind: distinct
    event: visit
    attribute: genre
  liking:
    kind: affinity
    event: visit
    by: genre
    to: genres
    attribute: seats
    measure: share
  bookings:
    kind: affinity
    event: booked
    by: campaign
    to: id
    measure: total
  tier:
    kind: profile
    attribute: tier
  hour:
    kind: context
    attribute: hour
  stage:
    kind: context
    attribute: stage
  discount:
    kind: action
    attribute: discount
  paid_a_visit:
    kind: expression
    expression: >-
      known.feature.visits && feature.visits > 0.0
      ? feature.paid / feature.visits
      : 0.0
""",
    "actions.yaml": """\
attributes:
  discount:
    type: number
    description: Share of the price
  genres:
    type: weights
  season:
    type: enum
    values: [spring, autumn]
  opens:
    type: timestamp
groups:
  offers:
    description: What may be bought
    outcome:
      event: booked
      match: campaign
      within: 14d
  notices:
    description: What has to be said
bundles:
  evening:
    text: They make an evening.
    actions:
      - tickets
      - dinner
actions:
  tickets:
    group: offers
    class: standard
    purpose: marketing
    description: Half-price tickets
    why: >-
      You came {feature.visits|not yet} times,
      {profile.first_name|dear guest}, and like the {context.stage|stage}.
    value: 12.50
    minimum_propensity: 0.02
    measures:
      applause: 3
    expires_after: 12h
    stop_when: feature.bookings > 0.0
    valid:
      from: 2026-01-01
      through: 2026-12-31
    attributes:
      discount: 0.5
      season: spring
      genres:
        opera: 1
        dance: 0.5
    treatments:
      letter:
        channel: email
        cost: 0.03
        devices:
          - tablet
          - phone
        content:
          subject: Hello {profile.nickname|there}, {context.greeting|welcome}
          body: >-
            Come again,
            it is {action.season} in the {context.stage|theatre}.
      poster:
        channel: screen
        content:
          body: It is {action.season}
  dinner:
    group: offers
    purpose: marketing
    value: 5
    treatments:
      talk:
        channel: desk
        content:
          body: Offer dinner
  cancelled:
    group: notices
    class: mandatory
    purpose: service
    value: 0
    urgent: true
    any_hour: true
    treatments:
      letter:
        channel: email
        content:
          body: The play is off
  programme:
    group: notices
    class: default
    purpose: service
    value: 0.1
    treatments:
      letter:
        channel: email
        content:
          body: What is on
""",
    "policies.yaml": """\
eligibility:
  - name: of_age
    text: Wine is for adults.
    when: profile.age >= 18
    applies_to:
      actions: [dinner]
applicability:
  - name: on_stage
    text: There is something to see.
    when: >-
      !known.context.stage
      || context.stage == 'main'
      || feature.stage == 1.0
    applies_to:
      groups: [offers]
      classes:
        - standard
        - default
suitability:
  - name: not_sated
    text: Not more than they like.
    when: feature.visits < 40.0
    protective: true
    applies_to:
      purposes:
        - marketing
      channels:
        - email
        - screen
      treatments:
        - tickets/letter
        - tickets/poster
suppression:
  - name: long_queue
    text: The queue is long.
    when: known.context.queue && context.queue > 20
quiet_hours:
  - name: night
    text: People sleep.
    from: "22:00"
    to: "08:00"
    applies_to:
      channels: [email]
preferred_hours:
  - name: interval
    text: They have time.
    when: profile.tier == 'patron'
    from: "20:30"
    to: "21:00"
weights:
  - name: likes_it
    text: It is what they like.
    when: feature.liking > 0.5
    factor: 1.5
    applies_to:
      actions:
        - tickets
promises:
  - name: seat_soon
    text: Nobody stands for long.
    feature: standing
    within: 15m
    most: 4
    applies_to:
      groups: [notices]
levers:
  - name: fill_the_house
    text: The house is empty.
    factor: 2
    applies_to:
      groups:
        - offers
claim_within: 2d
caps:
  - name: few_offers
    text: Three of a kind are enough.
    most: 3
    window: 7d
    each: [channel, group]
    applies_to:
      groups: [offers]
  - name: one_a_day
    text: One message a day will do.
    most: 1
    window: day
cool_downs:
  - name: no_means_no
    text: Who declined is left alone.
    after: rejected
    rest: 90d
    each:
      - group
repeat_costs:
  - name: used_to_it
    text: What comes again is expected.
    amount: 0.50
    window: month
    each: [purpose]
precedence:
  - name: bad_news_first
    text: Bad news comes first.
    first:
      groups:
        - notices
    within: 12h
    applies_to:
      groups:
        - offers
""",
}


def _subclasses(model: type) -> set[type]:
    return {model}.union(*map(_subclasses, model.__subclasses__()))


KEYS = {
    field.alias or name
    for model in _subclasses(Section)
    if model.__module__.startswith("services.engine.playbook")
    for name, field in model.model_fields.items()
}
"""Every key of the language."""


def write_theatre(folder: Path, **texts: str) -> Path:
    """Write the playbook into a folder and return it; ``texts`` replace whole files: ``actions="..."``."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in FILES.items():
        (folder / name).write_text(texts.get(name.removesuffix(".yaml"), text), encoding="utf-8")
    return folder


def changed_at(file: str, after: str, old: str, new: str) -> tuple[str, int]:
    """Return a file with the next ``old`` after the only ``after`` replaced, and the line of the change."""
    text = FILES[file]
    assert not after or text.count(after) == 1, (file, after)
    place = text.index(old, text.index(after) + len(after))
    return text[:place] + new + text[place + len(old) :], text[:place].count("\n") + 1
