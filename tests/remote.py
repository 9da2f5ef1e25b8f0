"""The services that a gateway asks, answering for the shop of ``deciding`` from memory."""

import asyncio

import numpy as np
from deciding import feature_set, model
from tact.features.v1 import feature_service_pb2 as features_pb
from tact.profile.v1 import profile_service_pb2 as profile_pb
from tact.scoring.v1 import scoring_service_pb2 as scoring_pb

from services.chassis.clients import deadline_exceeded
from services.gateway.app import Stubs

NOBODY = "nobody"


class Remote:
    """One service; ``meanwhile`` is awaited with each request before it is answered."""

    def __init__(self, **answers):
        self._answers = answers
        self.meanwhile = None

    def __getattr__(self, rpc):
        answer = self._answers[rpc]

        async def call(request, *, timeout=None, metadata=None):
            if self.meanwhile is not None:
                try:
                    async with asyncio.timeout(timeout):
                        await self.meanwhile(request)
                except TimeoutError:
                    raise deadline_exceeded() from None
            return answer(request)

        return call


def stubs():
    """Return the three services, each well until told otherwise."""
    return Stubs(
        profile=Remote(BatchGetProfiles=_profiles),
        features=Remote(BatchGetFeatures=_features),
        scoring=Remote(BatchScore=_scores, ExplainScores=_contributions, GetModel=_model),
    )


def _profiles(request):
    (key,) = request.customers
    customer_id = key.customer_id or f"customer of {key.identity.value}"
    if NOBODY in customer_id:
        return profile_pb.BatchGetProfilesResponse(
            results=[profile_pb.ProfileResult(profile=profile_pb.Profile())]
        )
    consents = [
        profile_pb.Consent(receipt_id="r", purpose=purpose, channel=channel, state="CONSENT_STATE_GRANTED")
        for purpose in ("marketing", "care")
        for channel in ("email", "mail", "app")
    ]
    profile = profile_pb.Profile(found=True, customer_id=customer_id, consents=consents)
    return profile_pb.BatchGetProfilesResponse(results=[profile_pb.ProfileResult(profile=profile)])


def _features(request):
    (key,) = request.customers
    names = len(feature_set().customer_names)
    rows = len(key.action_ids) * len(feature_set().candidate_names)
    vectors = features_pb.FeatureVectors(
        customer_vector=np.full(names, 2.0).tobytes(),
        customer_ages=np.full(names, 60.0).tobytes(),
        candidate_vectors=np.full(rows, 0.5).tobytes(),
        as_of_sequence=1,
    )
    return features_pb.BatchGetFeaturesResponse(
        results=[features_pb.FeatureResult(vectors=vectors)],
        schema_fingerprint=feature_set().served_fingerprint,
    )


def _model(request):
    served = model()
    return scoring_pb.GetModelResponse(
        model_version=served.version,
        schema_fingerprint=served.fingerprint,
        features=[
            scoring_pb.ModelFeature(name=name, definition_hash=digest, candidate=candidate)
            for name, digest, candidate in served.layout
        ],
        priors=served.priors,
        overall_prior=served.overall_prior,
    )


def _scores(request):
    return scoring_pb.BatchScoreResponse(
        results=[
            scoring_pb.ScoreResult(scores=scoring_pb.Scores(propensities=[0.5] * item.candidates))
            for item in request.items
        ],
        model_version="1",
    )


def _contributions(request):
    """Explain every score by its bias alone."""
    columns = len(model().layout) + 1
    return scoring_pb.ExplainScoresResponse(
        results=[
            scoring_pb.ScoreContributionsResult(
                contributions=scoring_pb.ScoreContributions(
                    contributions=np.eye(1, columns, columns - 1).repeat(item.candidates, axis=0).tobytes()
                )
            )
            for item in request.items
        ],
        model_version="1",
    )
