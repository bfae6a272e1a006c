// Makes the buckets of docker-compose.yml, and an object for each row of files in source.sql. May run again: it changes nothing then.
import { CreateBucketCommand, PutObjectCommand, S3Client } from '@aws-sdk/client-s3'

const { S3_URL: endpoint, S3_ACCESS_KEY: accessKeyId = '', S3_SECRET_KEY: secretAccessKey = '' } = process.env
const s3 = new S3Client({ endpoint, region: 'us-east-1', forcePathStyle: true, credentials: { accessKeyId, secretAccessKey } })

for (const Bucket of ['source', 'destination']) {
  await s3.send(new CreateBucketCommand({ Bucket })).catch((error) => {
    if (error.name !== 'BucketAlreadyOwnedByYou') throw error
  })
}
for (let project = 1; project <= 50; project++) {
  const text = `The report of project ${project}.`.padEnd(99) + '\n'
  await s3.send(new PutObjectCommand({ Bucket: 'source', Key: `${project}/report.txt`, Body: text, ContentType: 'text/plain' }))
}
