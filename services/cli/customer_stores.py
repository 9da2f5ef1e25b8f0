"""Where events and profiles are kept: where a command is told so, else where the settings of services say."""

from __future__ import annotations

from pathlib import Path

from services.chassis.settings import load
from services.features.settings import FeatureSettings
from services.profile.settings import ProfileSettings
from training.data.families import Families
from training.data.stores import Store, profiles_in, store_of


def events_store(named: str | None = None, folder: Path | None = None) -> Store:
    """Return the store of events: the one that is named, else that in a folder, else that of the settings.

    Raises:
        InvalidSettings: a setting of the feature service is wrong.
    """
    return _store(FeatureSettings, named, folder)


def profile_store(named: str | None = None, folder: Path | None = None) -> Store:
    """Return the store of profiles, chosen in the same way.

    Raises:
        InvalidSettings: a setting of the profile service is wrong.
    """
    return _store(ProfileSettings, named, folder)


def families_in(store: Store, *, is_named: bool = False) -> Families | None:
    """Return who is one customer by now; None where nobody named a file that is not there.

    Raises:
        Refused: the store cannot be read.
    """
    if isinstance(store, Path) and not is_named and not store.is_file():
        return None
    return Families(profiles_in(store).pointers())


def databases() -> dict[str, str]:
    """Return the databases that the settings name, as the dataset job calls them.

    Raises:
        InvalidSettings: a setting of the feature or the profile service is wrong.
    """
    urls = {
        "features_store": load(FeatureSettings).store_url,
        "profile_store": load(ProfileSettings).store_url,
    }
    return {name: url for name, url in urls.items() if url}


def _store(
    settings: type[FeatureSettings] | type[ProfileSettings], named: str | None, folder: Path | None
) -> Store:
    if named:
        return store_of(named)
    found = load(settings, None if folder is None else {"TACT_HOME": str(folder)})
    return found.store_url or found.file
