"""S3, or what speaks like it, as a Dagster resource."""

from dagster_aws.s3 import S3Resource

from rag_platform.storage.objects import S3Connection


class PlatformS3Resource(S3Resource):
    """Where S3 is and the key for it; our own code reads and writes through obstore."""

    def connection(self) -> S3Connection:
        """The configuration as a plain value."""
        return S3Connection(
            endpoint_url=self.endpoint_url,
            region=self.region_name,
            profile=self.profile_name,
            access_key_id=self.aws_access_key_id,
            secret_access_key=self.aws_secret_access_key,
            session_token=self.aws_session_token,
        )
