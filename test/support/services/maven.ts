import { rm } from 'node:fs/promises'
import path from 'node:path'
import { needed, run } from './commands.ts'
import { fetched } from './fetched.ts'

export interface MavenJars {
  /** For people, with the version: `Apache Kafka 4.3.1`. */
  readonly title: string
  /** Folder in the cache, with the version. */
  readonly folder: string
  /** A pom whose runtime dependencies are wanted. */
  readonly pom: string
}

const REMEDY = 'apt-get install -y default-jre-headless maven'

/** Resolves with a folder that holds the jars of a pom and nothing else, so that its class path is `<folder>/*`. */
export function mavenJars({ title, folder, pom }: MavenJars): Promise<string> {
  return fetched({
    title: `${title} from Maven Central`, folder, remedy: REMEDY,
    async fill(to) {
      const maven = needed({ program: 'mvn', title, remedy: REMEDY })
      // A repository of its own: two Mavens at once must not share one.
      const repository = path.join(to, 'repository')
      const copy = ['dependency:copy-dependencies', '-DincludeScope=runtime', `-DoutputDirectory=${to}`]
      await run([maven, '-q', '-B', '-f', pom, `-Dmaven.repo.local=${repository}`, ...copy])
      await rm(repository, { recursive: true })
    },
  })
}

/** The java of this machine. */
export function javaFor(title: string): string {
  return needed({ program: 'java', title, remedy: REMEDY })
}
